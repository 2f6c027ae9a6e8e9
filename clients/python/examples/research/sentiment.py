"""The sentiment of documents, with the VADER lexicon and rules (Hutto and Gilbert, ICWSM 2014), which are in the wheel.

Invariant: sentences are scored one by one. VADER sums over what it is given, so a long text scored at once is always
close to +1 or -1.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from vader import SentimentIntensityAnalyzer

from research.sentences import split_sentences

_THRESHOLD = 0.05  # from the authors of VADER
_ANALYZER = SentimentIntensityAnalyzer()  # immutable, shared by threads; made of 7,500 words in 2 ms


class SentimentLabel(StrEnum):
    """What a compound score amounts to: beyond 0.05 either way, or in between."""

    POSITIVE = "positive"
    NEUTRAL = "neutral"
    NEGATIVE = "negative"


@dataclass(frozen=True, slots=True)
class Sentiment:
    """The sentiment of one text, or of several together.

    Attributes:
        compound: The mean of the sentences' compound scores, from -1 to 1; 0 for a text without sentences.
        label: What that amounts to.
        sentence_count: How many sentences were scored.
        positive_count: How many of them are positive by the same thresholds.
        negative_count: How many of them are negative.
    """

    compound: float
    label: SentimentLabel
    sentence_count: int
    positive_count: int
    negative_count: int


def analyze_sentiment(text: str) -> Sentiment:
    """Return the sentiment of a text whose paragraphs are separated by blank lines."""
    scores = [_ANALYZER.polarity_scores(sentence)["compound"] for sentence in split_sentences(text)]
    labels = [label_of(score) for score in scores]
    return _sentiment(
        sum(scores), len(scores), labels.count(SentimentLabel.POSITIVE), labels.count(SentimentLabel.NEGATIVE)
    )


def overall_sentiment(sentiments: Iterable[Sentiment]) -> Sentiment:
    """Return the sentiment of several texts together: every sentence counts the same, whichever text it is in."""
    sentiments = list(sentiments)
    return _sentiment(
        sum(each.compound * each.sentence_count for each in sentiments),
        sum(each.sentence_count for each in sentiments),
        sum(each.positive_count for each in sentiments),
        sum(each.negative_count for each in sentiments),
    )


def label_of(compound: float) -> SentimentLabel:
    """Return the label of a compound score."""
    if compound >= _THRESHOLD:
        return SentimentLabel.POSITIVE
    return SentimentLabel.NEGATIVE if compound <= -_THRESHOLD else SentimentLabel.NEUTRAL


def _sentiment(compound_sum: float, sentence_count: int, positive_count: int, negative_count: int) -> Sentiment:
    compound = round(compound_sum / sentence_count, 4) if sentence_count else 0.0
    return Sentiment(compound, label_of(compound), sentence_count, positive_count, negative_count)
