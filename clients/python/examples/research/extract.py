"""Clean text from documents: the blocks of HTML, Markdown or plain text, put together into sections.

Invariant: the sections that are streamed, joined by blank lines, are the text that is returned whole. In it, blocks are
separated by blank lines and everything but code is free of line breaks.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from research.blocks import Block, BlockKind, pieces
from research.documents import MediaType
from research.html_blocks import html_blocks
from research.markdown_blocks import markdown_blocks
from research.plain_blocks import plain_blocks

_SECTION_CHARACTERS = 4_000
"""A section that has grown to this ends at the next block, so that a reader of the stream never waits for a chapter."""

_BLOCK_CHARACTERS = 8_000
"""A longer block is cut between words: a section, at 4 bytes a character, then always fits a chunk of 64 KiB."""

_TITLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document, under one heading or, where that is long, a part of it.

    Attributes:
        heading: The heading it stands under; empty before the first one.
        text: Its text, the heading included where the section begins with it.
        word_count: The number of words in the text.
    """

    heading: str
    text: str
    word_count: int


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """A document as clean text. The title is its own, or else its first heading, or else empty."""

    title: str
    text: str
    word_count: int


def extract(source: str, media_type: MediaType, *, with_code: bool = False) -> ExtractedText:
    """Return a document's title, text and number of words; blocks of code only if they are asked for.

    Raises:
        UnreadableDocument: The markup is nested absurdly deep.
    """
    blocks = list(_blocks(source, media_type))
    titles = [block.text for kind in (BlockKind.TITLE, BlockKind.HEADING) for block in blocks if block.kind is kind]
    sections = list(_sections(blocks, with_code=with_code))
    title = textwrap.shorten(titles[0], _TITLE_CHARACTERS, placeholder=" …") if titles else ""
    return ExtractedText(
        title, "\n\n".join(section.text for section in sections), sum(section.word_count for section in sections)
    )


def extract_sections(source: str, media_type: MediaType, *, with_code: bool = False) -> Iterator[Section]:
    """Yield the text of a document section by section, each at most 12,000 characters; see `extract`."""
    return _sections(_blocks(source, media_type), with_code=with_code)


def _blocks(source: str, media_type: MediaType) -> Iterator[Block]:
    match media_type:
        case MediaType.HTML:
            return html_blocks(source)
        case MediaType.MARKDOWN:
            return markdown_blocks(source)
        case MediaType.PLAIN:
            return plain_blocks(source)
        case _:
            assert_never(media_type)


def _sections(blocks: Iterator[Block] | list[Block], *, with_code: bool) -> Iterator[Section]:
    heading, texts, character_count = "", list[str](), 0
    for block in blocks:
        if block.kind is BlockKind.TITLE or (block.kind is BlockKind.CODE and not with_code):
            continue
        if block.kind is BlockKind.HEADING:
            yield from _section(heading, texts)
            heading, texts, character_count = block.text[:_BLOCK_CHARACTERS], [], 0
        for piece in pieces(block.text, _BLOCK_CHARACTERS):
            texts.append(piece)
            character_count += len(piece)
            if character_count >= _SECTION_CHARACTERS:
                yield from _section(heading, texts)
                texts, character_count = [], 0
    yield from _section(heading, texts)


def _section(heading: str, texts: list[str]) -> Iterator[Section]:
    if texts:
        text = "\n\n".join(texts)
        yield Section(heading, text, len(text.split()))
