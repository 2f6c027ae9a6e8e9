"""Plain text taken apart into blocks, with the conventions of docstrings and reStructuredText.

docutils is not used: it drops the content of every directive it does not know, and most files of this kind are written
for Sphinx. Invariant: what is prose is kept letter by letter, inline markup too, so that its sentences can be quoted.
"""

import re
from collections.abc import Iterator

from research.blocks import Block, BlockKind, collapse

_LINE = re.compile(r"""([=\-~^"'`#*+_.:<>])\1{2,}""")
_ITEM = re.compile(r"(?:[-*+•]|\d{1,3}[.)]|\([a-z0-9]\))\s+(?=\S)")
_FIELD = re.compile(r":[a-zA-Z][^:\n]{0,60}:(?:\s|$)")
_DIRECTIVE = re.compile(r"\.\.\s+([\w:+-]+)::")
_CODE_DIRECTIVE_NAMES = (
    "code code-block contents csv-table doctest figure graphviz highlight image include index list-table "
    "literalinclude math parsed-literal productionlist raw sourcecode testcode testoutput testsetup toctree"
)
_CODE_DIRECTIVES = frozenset(_CODE_DIRECTIVE_NAMES.split())
_MIN_WORD_SHARE = 0.5
"""Below this share of letters, digits and spaces, a paragraph is a drawing or the frame of a table."""


def plain_blocks(source: str) -> Iterator[Block]:
    """Yield headings, prose and code of a plain text: items of a list one by one, directives without their marker."""
    code_indent: int | None = None
    for lines in _paragraphs(source):
        indent = _indent(lines[0])
        if code_indent is not None and indent > code_indent:
            yield Block(BlockKind.CODE, "\n".join(lines))
        else:
            content = _without_marker(lines)
            # What is indented under a comment, a picture or a sentence that ends in two colons is not prose.
            code_indent = indent if not content or content[-1].rstrip().endswith("::") else None
            yield from _paragraph(content)


def _without_marker(lines: list[str]) -> list[str]:
    first_line = lines[0].strip()
    if not first_line.startswith(".. "):
        return lines
    directive = _DIRECTIVE.match(first_line)
    if directive is None or directive[1] in _CODE_DIRECTIVES:
        return []
    return [first_line[directive.end() :], *lines[1:]]


def _paragraphs(source: str) -> Iterator[list[str]]:
    lines: list[str] = []
    for line in source.expandtabs().splitlines():
        if line.strip():
            lines.append(line)
        elif lines:
            yield lines
            lines = []
    if lines:
        yield lines


def _paragraph(lines: list[str]) -> Iterator[Block]:
    match lines:
        case [above, title, below, *rest] if _is_line(above) and _is_line(below):
            yield Block(BlockKind.HEADING, collapse(title))
            lines = rest
        case [title, below, *rest] if _is_line(below) and not _is_line(title):
            yield Block(BlockKind.HEADING, collapse(title))
            lines = rest
    code_start = next((number for number, line in enumerate(lines) if line.lstrip().startswith((">>> ", "$ "))), None)
    yield from _prose(lines[:code_start])
    if code_start is not None:
        yield Block(BlockKind.CODE, "\n".join(lines[code_start:]))


def _prose(lines: list[str]) -> Iterator[Block]:
    for item in _items(lines):
        text = collapse(" ".join(item))
        word_character_count = sum(map(str.isalnum, text)) + text.count(" ")
        if word_character_count >= len(text) * _MIN_WORD_SHARE and text:
            yield Block(BlockKind.PROSE, text)
        elif text and not _is_line(text):
            yield Block(BlockKind.CODE, "\n".join(item))


def _items(lines: list[str]) -> Iterator[list[str]]:
    item: list[str] = []
    for line in lines:
        stripped = line.strip()
        bullet = _ITEM.match(stripped)
        if item and (bullet or _FIELD.match(stripped)):
            yield item
            item = []
        item.append(stripped[bullet.end() :] if bullet else stripped)
    if item:
        yield item


def _is_line(line: str) -> bool:
    return _LINE.fullmatch(line.strip()) is not None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
