"""The research tools, served to Podium: `podium executor research.tools`.

RESEARCH_SOURCE names the folder of documents that is searched, by default the documentation that comes with Python.
RESEARCH_STATE names the folder that keeps the indexes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import podium
from research import errors
from research.extract import extract_sections
from research.library import Library, most_telling
from research.quotation import Source
from research.search import MAX_HITS, Hit
from research.sentiment import Sentiment, overall_sentiment
from research.sentiment import analyze_sentiment as sentiment_of
from research.summarize import summarize as choose_sentences

MAX_TEXT_CHARACTERS = 120_000
"""Of a longer document the output holds the sections that tell most; the stream holds all of them."""

_PROGRESS_STEPS = 50
_REASONS: dict[type[errors.ResearchError], str] = {
    errors.SourceNotFound: "SOURCE_NOT_FOUND",
    errors.UnknownDocument: "UNKNOWN_DOCUMENT",
    errors.UnreadableDocument: "UNREADABLE_DOCUMENT",
    errors.SearchUnavailable: "SEARCH_UNAVAILABLE",
}


def library_of_environment() -> Library:
    """Return the library that the environment names."""
    environment = os.environ  # noqa: TID251 -- the one place where the example reads its environment
    source = environment.get("RESEARCH_SOURCE")
    state = environment.get("RESEARCH_STATE") or ".podium/research"
    return Library(Path(source) if source else None, Path(state))


app = podium.Executor("research")
library = library_of_environment()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found, the best first, and how many documents it searched."""

    query: str
    origin: str
    document_count: int
    count: int
    hits: list[Hit]


@dataclass(frozen=True, slots=True)
class ExtractedDocument:
    """The text of a document. A shortened one holds the sections that have most to do with the query."""

    document: str
    title: str
    text: str
    word_count: int
    shortened: bool


@dataclass(frozen=True, slots=True)
class DocumentSentiment:
    """The sentiment of one document."""

    document: str
    sentiment: Sentiment


@dataclass(frozen=True, slots=True)
class SentimentResult:
    """The sentiment of several documents, each and together."""

    overall: Sentiment
    documents: list[DocumentSentiment]


@dataclass(frozen=True, slots=True)
class Quotation:
    """A sentence that stands, word for word, in the file `path`."""

    text: str
    document: str
    path: str
    score: float


@dataclass(frozen=True, slots=True)
class SummaryResult:
    """The sentences that answer the query, the best first; how many there were, and the sentiment if it is known."""

    sentences: list[Quotation]
    considered_count: int
    document_count: int
    sentiment: str | None


Texts = Annotated[list[ExtractedDocument | None], "What extract_text returned; null for a document that failed."]


@app.tool(permissions=["read_files"], read_only=True, timeout="10m")
def search(
    query: Annotated[str, "What to look for, in plain words."],
    ctx: podium.Context,
    limit: Annotated[int, "At most this many documents.", {"minimum": 1, "maximum": MAX_HITS}] = 6,
) -> SearchResult:
    """Search the documents for a query and return the best ones first, each with its score and a snippet."""

    def told(done_count: int, total_count: int) -> None:
        ctx.raise_if_cancelled()
        if done_count == total_count or done_count % max(1, total_count // _PROGRESS_STEPS) == 0:
            ctx.progress(done_count / total_count, f"indexing document {done_count} of {total_count}")

    with _announced():
        ctx.progress(None, "listing the documents")
        corpus, index = library.index(told)
        hits = index.search(query, limit)
    return SearchResult(query, corpus.origin, index.document_count, len(hits), hits)


@app.tool(permissions=["read_files"], read_only=True, timeout="1m")
def extract_text(
    document: Annotated[str, "A document's name, as search returns it."],
    ctx: podium.Context,
    query: Annotated[str, "What matters in a document that is too long to return whole."] = "",
) -> Iterator[str | podium.Output]:
    """Extract the clean text of a document, section by section."""
    sections = []
    with _announced():
        found = library.document(document)
        for section in extract_sections(found.text(), found.media_type):
            ctx.raise_if_cancelled()
            sections.append(section)
            yield section.text + "\n\n"
    kept = most_telling(sections, query, MAX_TEXT_CHARACTERS)
    yield podium.Output(
        ExtractedDocument(
            document,
            next((section.heading for section in sections if section.heading), document),
            "\n\n".join(section.text for section in kept),
            sum(section.word_count for section in kept),
            shortened=len(kept) < len(sections),
        )
    )


@app.tool(read_only=True, timeout="1m")
def analyze_sentiment(texts: Texts, ctx: podium.Context) -> SentimentResult:
    """Analyse the sentiment of texts, sentence by sentence."""
    documents = []
    known = _known(texts)
    for number, text in enumerate(known):
        ctx.raise_if_cancelled()
        ctx.progress(number / len(known), text.document)
        documents.append(DocumentSentiment(text.document, sentiment_of(text.text)))
    return SentimentResult(overall_sentiment(each.sentiment for each in documents), documents)


@app.tool(permissions=["read_files"], read_only=True, timeout="2m")
def summarize(
    query: Annotated[str, "What the summary should answer."],
    documents: Texts,
    ctx: podium.Context,
    sentiment: Annotated[SentimentResult | None, "What analyze_sentiment returned, if it ran."] = None,
    sentence_limit: Annotated[int, "At most this many sentences.", {"minimum": 1, "maximum": 50}] = 5,
) -> SummaryResult:
    """Summarise documents by the sentences in them that answer the query, quoted as they stand in their files."""
    sources, paths = [], {}
    with _announced():
        for each in _known(documents):
            ctx.raise_if_cancelled()
            ctx.progress(None, f"reading {each.document}")
            document = library.document(each.document)
            sources.append(Source(each.document, each.text, document.source()))
            paths[each.document] = str(document.path)
    ctx.progress(None, "comparing the sentences")
    summary = choose_sentences(sources, query, sentence_limit=sentence_limit)
    sentences = [Quotation(each.text, each.document, paths[each.document], each.score) for each in summary.sentences]
    label = sentiment.overall.label if sentiment is not None else None
    return SummaryResult(sentences, summary.considered_count, len(sources), label)


def _known(texts: Sequence[ExtractedDocument | None]) -> list[ExtractedDocument]:
    return [text for text in texts if text is not None]


@contextmanager
def _announced() -> Iterator[None]:
    """What these tools announce would fail again in the same way; anything else may pass."""
    try:
        yield
    except errors.ResearchError as error:
        raise podium.ToolFailed(
            str(error), reason=_REASONS.get(type(error), "RESEARCH_FAILED"), retryable=False
        ) from error
