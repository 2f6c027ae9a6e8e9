import pytest
from research.sentiment import SentimentLabel, analyze_sentiment, overall_sentiment


def test_praise_is_positive_and_complaint_negative():
    assert analyze_sentiment("This library is wonderful. I love it!").label is SentimentLabel.POSITIVE
    assert analyze_sentiment("It crashes. The errors are horrible and useless.").label is SentimentLabel.NEGATIVE
    assert analyze_sentiment("The function returns an integer.").label is SentimentLabel.NEUTRAL


def test_a_negation_turns_the_score():
    assert analyze_sentiment("It is good.").compound > 0 > analyze_sentiment("It is not good.").compound


def test_a_text_without_sentences_is_neutral():
    sentiment = analyze_sentiment(" \n\n ")
    assert (sentiment.compound, sentiment.sentence_count) == (0.0, 0)
    assert overall_sentiment([]) == sentiment


def test_a_long_text_is_not_pushed_to_an_end():
    mixed = analyze_sentiment("This is good. That is bad. " * 500)
    assert abs(mixed.compound) < 0.2
    assert (mixed.sentence_count, mixed.positive_count, mixed.negative_count) == (1000, 500, 500)


def test_the_overall_score_counts_every_sentence_the_same():
    short, long = analyze_sentiment("Terrible."), analyze_sentiment("Great work. " * 9)
    overall = overall_sentiment([short, long])
    assert overall.sentence_count == 10
    assert overall.compound == pytest.approx((short.compound + 9 * long.compound) / 10, abs=1e-3)
    assert (overall.positive_count, overall.negative_count) == (9, 1)
