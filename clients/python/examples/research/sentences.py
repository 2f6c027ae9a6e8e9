"""Sentences of a text, by nupunkt (Punkt: Kiss and Strunk, Computational Linguistics 32(4), 2006; model in the wheel).

Invariant: a sentence is a piece of its text letter by letter, but for white space, which is made single spaces.
"""

from collections.abc import Iterator

import nupunkt

from research.blocks import collapse, pieces

_MAX_PARAGRAPH_CHARACTERS = 4_000
"""The splitter takes quadratic time for runs of "?!": 24 s for 400,000 characters, 2 ms for these."""


def split_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text in which a blank line ends a sentence, too."""
    for paragraph in text.split("\n\n"):
        for piece in pieces(paragraph, _MAX_PARAGRAPH_CHARACTERS):
            for sentence in nupunkt.sentences(piece):
                if collapsed := collapse(sentence):
                    yield collapsed
