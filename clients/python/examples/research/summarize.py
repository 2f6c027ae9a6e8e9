"""Extractive summaries: the sentences of several documents that answer a query, quoted, each with its document's name.

Invariant: nothing in a summary is written here. Every sentence of it stands in the file of the document it names (see
`quotation`), and those that hold what is rare in the query come first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from research.lexrank import SentenceGraph, inverse_frequencies, relevance
from research.quotation import Source, fragment, is_quotable
from research.sentences import split_sentences
from research.terms import terms

_MAX_COMPARED = 300
"""Sentences that enter the graph, whose cost grows with the square: 0.1 s for these."""

_MAX_CHECKED = 4 * _MAX_COMPARED
"""Sentences that are looked for in their files: half a millisecond each where the file is large."""

_MIN_WORDS = 4
_RARE_COUNT = 5
"""A term of the query is rare if no more sentences hold it, and no more than a tenth of them all (but two may)."""

_REPEATED = 0.8
"""A sentence at least this like one that was chosen says nothing new."""

_UNFINISHED_WEIGHT = 0.5
_SENTENCE_ENDS = (".", "!", "?", ".)", '."', ".'", ":", "。")


@dataclass(frozen=True, slots=True)
class SummarySentence:
    """A quotation: the sentence, the name of the document it stands in, and its weight from 0 to 1, best 1."""

    text: str
    document: str
    score: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The chosen sentences, best first, and how many sentences they were chosen from."""

    sentences: tuple[SummarySentence, ...]
    considered_count: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    text: str
    source: Source
    position: int
    terms: tuple[str, ...]
    rare: frozenset[str]
    rarity: float
    relevance: float


def summarize(sources: Sequence[Source], query: str, *, sentence_limit: int = 5) -> Summary:
    """Choose the sentences of the sources that matter most to the query, at most `sentence_limit` of them.

    Sentences holding terms of the query that are rare in the sources come first, the rarest and the most of them
    before the others. After that, biased LexRank decides, and of two sentences that say the same only one is taken. A
    query without any term that occurs gives a summary of the sources as such.

    Raises:
        ValueError: `sentence_limit` is below 1.
    """
    if sentence_limit < 1:
        raise ValueError(f"A summary of {sentence_limit} sentences cannot be made.")
    candidates = _candidates(sources, terms(query))
    return Summary(tuple(_choose(_quotable(candidates), sentence_limit)), len(candidates))


def _candidates(sources: Sequence[Source], question: list[str]) -> list[_Candidate]:
    found: dict[str, tuple[Source, int]] = {}
    for source in sources:
        for position, sentence in enumerate(split_sentences(source.text)):
            found.setdefault(sentence, (source, position))
    sentences = [tuple(terms(sentence)) for sentence in found]
    weights = inverse_frequencies(sentences)
    rare = _rare_terms(sentences, question)
    candidates = [
        _Candidate(
            sentence,
            source,
            position,
            sentence_terms,
            rare=rare.intersection(sentence_terms),
            rarity=round(sum(weights[term] for term in rare.intersection(sentence_terms)), 6),
            relevance=relevance(sentence_terms, question, weights),
        )
        for (sentence, (source, position)), sentence_terms in zip(found.items(), sentences, strict=True)
    ]
    return [each for each in candidates if each.rarity or (each.terms and each.text.count(" ") >= _MIN_WORDS - 1)]


def _rare_terms(sentences: Sequence[tuple[str, ...]], question: list[str]) -> frozenset[str]:
    limit = min(_RARE_COUNT, max(2, len(sentences) // 10))
    counts = {term: sum(term in sentence for sentence in sentences) for term in set(question)}
    return frozenset(term for term, count in counts.items() if 0 < count <= limit)


def _quotable(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    # Of what the query does not tell apart, the beginnings of all documents: they tend to say what it is about.
    foremost = sorted(candidates, key=lambda each: (-each.rarity, -each.relevance, each.position))[:_MAX_CHECKED]
    quotable = list(islice((each for each in foremost if is_quotable(each.text, each.source)), _MAX_COMPARED))
    unsaid = frozenset[str]().union(*(each.rare for each in foremost)).difference(*(each.rare for each in quotable))
    return [*_fragments(foremost, unsaid), *quotable]


def _fragments(candidates: Sequence[_Candidate], unsaid: frozenset[str]) -> Iterator[_Candidate]:
    # Markup in a sentence keeps it from being quoted whole. Where no other says what was asked for, a part of it does.
    for candidate in candidates:
        said = candidate.rare & unsaid
        quotation = fragment(candidate.text, candidate.source, said) if said else None
        if quotation is not None:
            yield replace(candidate, text=quotation)


def _choose(pool: Sequence[_Candidate], sentence_limit: int) -> Iterator[SummarySentence]:
    if not pool:
        return
    graph = SentenceGraph([each.terms for each in pool], inverse_frequencies([each.terms for each in pool]))
    ranks = graph.rank([each.relevance for each in pool])
    weighted = [
        rank * (1 if each.text.endswith(_SENTENCE_ENDS) else _UNFINISHED_WEIGHT)
        for rank, each in zip(ranks, pool, strict=True)
    ]
    scores = [rank / max(weighted) for rank in weighted]
    chosen: list[int] = []
    remaining = list(range(len(pool)))
    while remaining and len(chosen) < sentence_limit:
        rarest = max(pool[index].rarity for index in remaining)
        foremost = [index for index in remaining if pool[index].rarity == rarest]
        choice = graph.next_choice(foremost, chosen, scores)
        chosen.append(choice)
        remaining = [index for index in remaining if index != choice and graph.likeness(index, choice) < _REPEATED]
        yield SummarySentence(pool[choice].text, pool[choice].source.name, round(scores[choice], 4))
