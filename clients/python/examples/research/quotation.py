"""Quotations: what may be said to stand in a file.

Invariant: a quotation, its white space made single spaces, occurs in the contents of its file made so, as they are or
with HTML's character references resolved.
"""

import html
from bisect import bisect_left
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

from research.blocks import collapse
from research.terms import terms

MAX_QUOTED_WORDS = 80
"""What is longer is no sentence that a reader would follow, but a table or a text without punctuation."""


@dataclass(frozen=True)
class Source:
    """A document to quote from.

    Attributes:
        name: What a quotation names it by.
        text: Its clean text, as extracted.
        contents: What its file holds. For a text that stands in no file, the text itself.
    """

    name: str
    text: str
    contents: str

    def holds(self, quotation: str) -> bool:
        """Whether the words, which have single spaces between them, stand so in the file."""
        return any(quotation in contents for contents in self._comparable)

    @cached_property
    def _comparable(self) -> tuple[str, ...]:
        written, meant = collapse(self.contents), collapse(html.unescape(self.contents))
        return (written,) if written == meant else (written, meant)


def is_quotable(sentence: str, source: Source) -> bool:
    """Whether a sentence is short enough for a quotation and stands in the file as it reads, without markup in it."""
    return sentence.count(" ") < MAX_QUOTED_WORDS and source.holds(sentence)


def fragment(sentence: str, source: Source, wanted: AbstractSet[str]) -> str | None:
    """Return what can be quoted of a sentence around the first of its words that are wanted; None if that cannot be.

    Args:
        sentence: A sentence of the source's text, with single spaces.
        source: Where it is from.
        wanted: Stemmed terms, as `terms` gives them.
    """
    pieces = sentence.split(" ")
    for position, piece in enumerate(pieces):
        if not wanted.isdisjoint(terms(piece)) and source.holds(piece):
            return _widest(pieces, position, source)
    return None


def _widest(pieces: list[str], position: int, source: Source) -> str:
    # What stands in the file stands there shorter, too, so each end can be found by bisection.
    ends = range(position + 2, min(len(pieces), position + MAX_QUOTED_WORDS // 2) + 1)
    end = position + 1 + bisect_left(ends, 1, key=lambda end: not source.holds(" ".join(pieces[position:end])))
    starts = range(position - 1, max(0, end - MAX_QUOTED_WORDS) - 1, -1)
    start = position - bisect_left(starts, 1, key=lambda start: not source.holds(" ".join(pieces[start:end])))
    return " ".join(pieces[start:end])
