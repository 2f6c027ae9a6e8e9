"""A block: a heading, a paragraph or a piece of code, which is what every form of document is taken apart into."""

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple


class BlockKind(Enum):
    """What a block of a document is for its reader."""

    TITLE = auto()  # told about the document, not in its text: HTML's <title>
    HEADING = auto()
    PROSE = auto()
    CODE = auto()


class Block(NamedTuple):
    """A piece of a document between two breaks. White space is single spaces, except in code, which keeps its lines."""

    kind: BlockKind
    text: str


def collapse(text: str) -> str:
    """Return the text with every run of white space made one space: the form in which quotations are compared."""
    return " ".join(text.split())


def pieces(text: str, max_characters: int) -> Iterator[str]:
    """Cut a long text where a sentence may end, else between words, else anywhere; a short one is its only piece."""
    while len(text) > max_characters:
        window = text[:max_characters]
        end = max(window.rfind(". ") + 1, window.rfind("\n")) or window.rfind(" ")
        end = end if end > 0 else max_characters
        yield text[:end].rstrip()
        text = text[end:].lstrip()
    if text:
        yield text
