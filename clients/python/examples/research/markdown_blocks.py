"""Markdown taken apart into blocks, by markdown-it-py (CommonMark, and tables).

Invariant: the inline parser, whose cost can grow with the square of a paragraph, is only given paragraphs of a limited
length. A longer one is kept as it stands.
"""

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from research.blocks import Block, BlockKind, collapse
from research.html_blocks import html_blocks

_MAX_INLINE_CHARACTERS = 10_000
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_BREAKS = frozenset({"softbreak", "hardbreak"})


def markdown_blocks(source: str) -> Iterator[Block]:
    """Yield headings, prose and code of a Markdown text; images and front matter are left out.

    Code inside a sentence keeps its backquotes, so that the sentence stands in the file letter by letter.

    Raises:
        UnreadableDocument: HTML in the text is nested more than 1000 deep.
    """
    # A parser costs 0.3 ms to make, and one for each document can be used from any thread.
    parser = MarkdownIt("commonmark", {"html": True}).enable("table").disable("inline")
    kind = BlockKind.PROSE
    for token in parser.parse(_FRONT_MATTER.sub("", source, count=1)):
        if token.type in {"heading_open", "heading_close"}:
            kind = BlockKind.HEADING if token.nesting == 1 else BlockKind.PROSE
        elif token.type == "inline":
            if text := collapse(_inline_text(parser, token.content)):
                yield Block(kind, text)
        elif token.type in {"fence", "code_block"}:
            if token.content.strip():
                yield Block(BlockKind.CODE, token.content.strip("\n"))
        elif token.type == "html_block":
            yield from html_blocks(token.content)


def _inline_text(parser: MarkdownIt, content: str) -> str:
    if len(content) > _MAX_INLINE_CHARACTERS:
        return content
    tokens: list[Token] = []
    parser.inline.parse(content, parser, {}, tokens)
    return "".join(_texts(tokens))


def _texts(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "code_inline":
            yield f"{token.markup}{token.content}{token.markup}"
        elif token.type in _BREAKS:
            yield " "
        elif token.type in {"text", "text_special"}:
            yield token.content
