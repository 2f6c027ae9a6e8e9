"""Where the tools find documents: the corpus that was listed last, and its index.

Invariant: a search sees the documents as they are now. What it found stays within reach of the calls that follow.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from research.corpus import Corpus, open_corpus
from research.documents import Document
from research.errors import UnknownDocument
from research.extract import Section
from research.search import SearchIndex, open_index
from research.terms import terms


class Library:
    """The documents below a folder, or Python's own documentation. Any thread may use it.

    Attributes:
        source: The folder; None for Python's own documentation.
        state: The folder that holds the indexes, one a source.
    """

    def __init__(self, source: Path | None, state: Path) -> None:
        self.source = source
        self.state = state
        self._listed: Corpus | None = None

    def index(self, on_progress: Callable[[int, int], None]) -> tuple[Corpus, SearchIndex]:
        """List the documents and return the index of them, built anew if they have changed. Raises ResearchError."""
        corpus = self._list()
        place = "" if self.source is None else str(self.source.expanduser().resolve())
        name = hashlib.sha256(place.encode(errors="replace")).hexdigest()[:16]
        return corpus, open_index(corpus, self.state / f"index-{name}.db", on_progress)

    def document(self, name: str) -> Document:
        """The document of this name. Raises ResearchError."""
        corpus = self._listed or self._list()
        try:
            return corpus.document(name)
        except UnknownDocument:
            return self._list().document(name)

    def _list(self) -> Corpus:
        self._listed = open_corpus(self.source)
        return self._listed


def most_telling(sections: Sequence[Section], query: str, max_characters: int) -> list[Section]:
    """Return as many sections as fit, in their order; those that hold what is rare in the query come in first."""
    if sum(len(section.text) for section in sections) <= max_characters:
        return list(sections)
    wanted = set(terms(query))
    found = [wanted.intersection(terms(section.text)) for section in sections]
    frequency = {term: sum(term in each for each in found) for term in wanted}
    worth = [sum(1 / frequency[term] for term in each) for each in found]
    kept: list[int] = []
    left = max_characters
    for number in sorted(range(len(sections)), key=lambda number: (-worth[number], number)):
        if len(sections[number].text) <= left:
            kept.append(number)
            left -= len(sections[number].text)
    return [sections[number] for number in sorted(kept)]
