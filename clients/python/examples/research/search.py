"""Full-text search over a corpus: BM25 (Robertson and Zaragoza, 2009) as SQLite's FTS5 computes it, in one file.

Invariant: the file at the index's path is whole. It is built beside it and moved there, so that a reader never meets
half an index, and two builders at once do no harm. It is a cache: it can be deleted at any time.
"""

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from research.blocks import collapse
from research.corpus import Corpus
from research.documents import Document, MediaType
from research.errors import SearchUnavailable, UnreadableDocument
from research.extract import extract
from research.terms import without_stop_words

Progress = Callable[[int, int], None]
"""Told after every document: how many are done, and how many there are. What it raises ends the building."""

MAX_HITS = 100
_MAX_QUERY_TERMS = 32
_FORMAT = 1  # raise it when the tables, or what extraction makes of a document, change
_APPLICATION_ID = 0x706F6469  # "podi", in the file's header: tells an index from a file that must not be replaced

_MARK = f"PRAGMA application_id = {_APPLICATION_ID}"
_SCHEMA = """
CREATE TABLE about (fingerprint TEXT, format INTEGER, document_count INTEGER, left_out_count INTEGER);
CREATE VIRTUAL TABLE documents USING fts5(
  name UNINDEXED, path UNINDEXED, media_type UNINDEXED, place, title, body, tokenize = 'porter unicode61'
);
INSERT INTO documents (documents, rank) VALUES ('rank', 'bm25(0, 0, 0, 2.0, 8.0, 1.0)');
"""
_INSERT = "INSERT INTO documents (name, path, media_type, place, title, body) VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_ABOUT = "INSERT INTO about VALUES (?, ?, ?, ?)"
_SELECT_ABOUT = "SELECT fingerprint, format, document_count, left_out_count FROM about"
_SEARCH = """
SELECT name, path, title, -rank, snippet(documents, 5, '', '', ' … ', 32), media_type
FROM documents WHERE documents MATCH ? ORDER BY rank, name LIMIT ?
"""

# Words joined by a mark (start_unix_server, e-mail, asyncio.Queue) stay together, and are searched as a phrase.
_QUERY_TERM = re.compile(r"[^\W_]+(?:[._'\u2019-]+[^\W_]+)*")
_QUERY_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that answers a query.

    Attributes:
        name: The document's name in the corpus.
        path: Its file.
        title: Its title, or its name if it has none.
        score: Its BM25 score, zero or more, comparable only within one search.
        snippet: Some 32 words of it around the query's terms.
        media_type: Its form.
    """

    name: str
    path: str
    title: str
    score: float
    snippet: str
    media_type: MediaType


@dataclass(frozen=True, slots=True)
class SearchIndex:
    """An index that is in its file. It holds nothing open, so any thread and any process may search it.

    Attributes:
        path: The index's file.
        document_count: How many documents can be found.
        left_out_count: How many of the corpus could not be read: binary, gone, or not what their names say.
    """

    path: Path
    document_count: int
    left_out_count: int

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """Return the best documents first: those that hold all of the query's terms, then those that hold any.

        The query is words and nothing else: no operator, quote or column name in it has a meaning. Stop words count
        only if there are no others, and what comes after the first 32 terms does not. Without a word, nothing is found.

        Raises:
            SearchUnavailable: The file is gone or damaged; `open_index` builds it anew.
            ValueError: `limit` is not between 1 and 100.
        """
        if not 1 <= limit <= MAX_HITS:
            raise ValueError(f"A search gives 1 to {MAX_HITS} documents, not {limit}.")
        hits: dict[str, Hit] = {}
        try:
            with closing(_connect_to_read(self.path)) as connection:
                for expression in match_expressions(query):
                    if len(hits) < limit:
                        for row in connection.execute(_SEARCH, (expression, limit)):
                            hits.setdefault(row[0], _hit(row))
        except sqlite3.Error as error:
            raise SearchUnavailable(f"The search index {self.path} cannot be read: {error}.") from error
        return list(hits.values())[:limit]


def open_index(corpus: Corpus, path: Path, on_progress: Progress | None = None) -> SearchIndex:
    """Return the corpus's index in the file `path`, building it if it is not there or the corpus has changed.

    Raises:
        SearchUnavailable: SQLite lacks FTS5, or the file holds something else, or it cannot be written.
    """
    if path.exists() and not _is_index(path):
        raise SearchUnavailable(f"{path} is no search index, and is not replaced by one.")
    index = _current(corpus, path)
    if index is not None:
        return index
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _build(corpus, path, on_progress or _unheard)
    except (sqlite3.Error, OSError, UnicodeError) as error:
        raise SearchUnavailable(f"The search index {path} cannot be built: {error}.") from error
    index = _current(corpus, path)
    if index is None:
        raise SearchUnavailable(f"The search index {path} was replaced while it was built.")
    return index


def match_expressions(query: str) -> list[str]:
    """Return the FTS5 expressions that stand for a query, the strictest first; none for a query without a word."""
    joined = _QUERY_TERM.findall(query.casefold())
    loose = _QUERY_WORD.findall(query.casefold())
    expressions = []
    for operator, found in ((" AND ", joined), (" OR ", loose)):
        meaningful = without_stop_words(found) or found
        distinct = list(dict.fromkeys(meaningful))[:_MAX_QUERY_TERMS]
        if distinct:
            # A term has no quotation mark in it, so these quotes hold: inside them, FTS5 knows no syntax.
            expressions.append(operator.join(f'"{term}"' for term in distinct))
    return expressions


def _build(corpus: Corpus, path: Path, on_progress: Progress) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".building", dir=path.parent)
    os.close(descriptor)
    building = Path(name)
    try:
        with closing(sqlite3.connect(building)) as connection:
            _require_fts5(connection)
            connection.execute(_MARK)
            connection.executescript(_SCHEMA)
            left_out_count = 0
            for done_count, document in enumerate(corpus.documents, start=1):
                try:
                    connection.executemany(_INSERT, _rows(document))
                except UnreadableDocument:
                    left_out_count += 1
                on_progress(done_count, len(corpus.documents))
            (document_count,) = connection.execute("SELECT count(*) FROM documents").fetchone()
            connection.execute(_INSERT_ABOUT, (corpus.fingerprint, _FORMAT, document_count, left_out_count))
            connection.commit()
        building.replace(path)
    finally:
        building.unlink(missing_ok=True)


def _rows(document: Document) -> list[tuple[str, ...]]:
    extracted = extract(document.text(), document.media_type, with_code=True)
    if not extracted.word_count:
        return []  # a module without documentation, an empty file
    # The scheme is no place: every package would be found for the word "package".
    place = document.name.partition(":")[2] or document.name
    title = extracted.title or document.name
    return [(document.name, str(document.path), document.media_type, place, title, extracted.text)]


def _current(corpus: Corpus, path: Path) -> SearchIndex | None:
    try:
        with closing(_connect_to_read(path)) as connection:
            fingerprint, index_format, document_count, left_out_count = connection.execute(_SELECT_ABOUT).fetchone()
    except (sqlite3.Error, TypeError):
        return None  # missing, damaged or of an older form: in all cases it is built anew
    if (fingerprint, index_format) != (corpus.fingerprint, _FORMAT):
        return None
    return SearchIndex(path, document_count, left_out_count)


def _connect_to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _is_index(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(72)
    return not header or (header.startswith(b"SQLite format 3\0") and header[68:] == _APPLICATION_ID.to_bytes(4, "big"))


def _require_fts5(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.probe USING fts5(body)")
        connection.execute("DROP TABLE temp.probe")
    except sqlite3.OperationalError as error:
        raise SearchUnavailable(
            f"This Python's SQLite, {sqlite3.sqlite_version}, has no FTS5, which searching needs: {error}."
        ) from error


def _hit(row: tuple[str, str, str, float, str, str]) -> Hit:
    name, path, title, score, snippet, media_type = row
    return Hit(name, path, title, round(score, 4), collapse(snippet), MediaType(media_type))


def _unheard(_done_count: int, _total_count: int) -> None:
    """Stand in for a callback that nobody gave."""
