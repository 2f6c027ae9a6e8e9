"""Which sentences of several matter most to a question: biased LexRank, and maximal marginal relevance.

Sources: Otterbacher, Erkan and Radev, "Biased LexRank: Passage retrieval using random walks with question-based
priors", Information Processing and Management 45(1), 2009, after Erkan and Radev, "LexRank", JAIR 22, 2004; Carbonell
and Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998.

Invariant: pure and deterministic. A sentence is a list of terms here; the same terms give the same numbers and order.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

_QUESTION_BIAS = 0.8
"""The share of a sentence's rank that comes from the question itself, the rest from sentences like it. The paper finds
0.7 to 0.95 best."""

_UNBIASED_DAMPING = 0.15
"""Without a question: the same chance for every sentence, as in LexRank."""

_RELEVANCE_WEIGHT = 0.7
"""MMR's lambda: what rank counts against likeness to what was chosen already."""

_ITERATIONS = 50
_TOLERANCE = 1e-6


def inverse_frequencies(sentences: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return for each term ln((n + 1) / (0.5 + the number of the n sentences that hold it)), always above zero."""
    counts = Counter(term for sentence in sentences for term in set(sentence))
    return {term: math.log((len(sentences) + 1) / (0.5 + count)) for term, count in counts.items()}


def relevance(sentence: Sequence[str], question: Sequence[str], weights: dict[str, float]) -> float:
    """Return how much a sentence has of a question: the sum of ln(tf + 1) · ln(tf + 1) · idf over the shared terms."""
    question_counts, counts = Counter(question), Counter(sentence)
    return sum(
        math.log(counts[term] + 1) * math.log(question_counts[term] + 1) * weights[term]
        for term in question_counts.keys() & counts.keys()
    )


class SentenceGraph:
    """Sentences joined by the cosine of their tf-idf vectors.

    Args:
        sentences: The terms of each; an empty sentence is like none.
        weights: The inverse frequency of every term in them.
    """

    def __init__(self, sentences: Sequence[Sequence[str]], weights: dict[str, float]) -> None:
        self._likeness: list[dict[int, float]] = [{} for _ in sentences]
        postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for index, sentence in enumerate(sentences):
            vector = {term: count * weights[term] for term, count in Counter(sentence).items()}
            length = math.sqrt(sum(value * value for value in vector.values()))
            row = self._likeness[index]
            for term, value in vector.items():
                for other, other_value in postings[term]:
                    row[other] = row.get(other, 0.0) + value / length * other_value
                postings[term].append((index, value / length))
            for other, cosine in row.items():
                self._likeness[other][index] = cosine

    def likeness(self, one: int, other: int) -> float:
        """Return the cosine of two different sentences, from 0 to 1."""
        return self._likeness[one].get(other, 0.0)

    def rank(self, relevances: Sequence[float]) -> list[float]:
        """Return each sentence's share in a random walk that returns to the question; the shares' sum is 1.

        Args:
            relevances: How much each sentence has of the question, zero or more. All zero: there is no question.
        """
        size, total = len(relevances), sum(relevances)
        prior = [value / total if total else 1 / size for value in relevances]
        bias = _QUESTION_BIAS if total else _UNBIASED_DAMPING
        outgoing = [sum(row.values()) for row in self._likeness]
        ranks = prior
        for _ in range(_ITERATIONS):
            walked = [
                sum(cosine / outgoing[other] * ranks[other] for other, cosine in row.items())
                if row
                else ranks[index]  # like no other: the walk stays
                for index, row in enumerate(self._likeness)
            ]
            following = [bias * prior[index] + (1 - bias) * walked[index] for index in range(size)]
            change = sum(abs(new - old) for new, old in zip(following, ranks, strict=True))
            ranks = following
            if change < _TOLERANCE:
                break
        return ranks

    def next_choice(self, candidates: Sequence[int], chosen: Sequence[int], scores: Sequence[float]) -> int:
        """Return the (first) candidate with the most of λ · score - (1 - λ) · likeness to the nearest chosen."""

        def margin(candidate: int) -> float:
            nearest = max((self.likeness(candidate, other) for other in chosen), default=0.0)
            return _RELEVANCE_WEIGHT * scores[candidate] - (1 - _RELEVANCE_WEIGHT) * nearest

        return max(candidates, key=margin)
