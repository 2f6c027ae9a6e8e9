import pytest
from hypothesis import given
from hypothesis import strategies as st
from research.lexrank import SentenceGraph, inverse_frequencies, relevance

SENTENCES = [["lease", "owner"], ["lease", "owner", "end"], ["queue", "limit"], ["lease", "end"], ["sun"]]


def graph_of(sentences):
    return SentenceGraph(sentences, inverse_frequencies(sentences))


def test_the_sentence_that_is_most_like_the_others_ranks_first_without_a_question():
    ranks = graph_of(SENTENCES).rank([0.0] * len(SENTENCES))
    assert max(range(len(SENTENCES)), key=ranks.__getitem__) == 1


def test_a_question_moves_the_rank_to_what_answers_it():
    weights = inverse_frequencies(SENTENCES)
    ranks = graph_of(SENTENCES).rank([relevance(each, ["queue"], weights) for each in SENTENCES])
    assert max(range(len(SENTENCES)), key=ranks.__getitem__) == 2


def test_a_sentence_next_to_an_answer_ranks_above_one_that_is_not():
    ranks = graph_of(SENTENCES).rank([1.0, 0.0, 0.0, 0.0, 0.0])
    assert ranks[1] > ranks[2]


def test_the_next_choice_is_new_rather_than_a_little_better():
    graph = graph_of([["a", "b"], ["a", "b"], ["c", "d"]])
    assert graph.next_choice([1, 2], [0], [1.0, 0.6, 0.4]) == 2
    assert graph.next_choice([1, 2], [], [1.0, 0.6, 0.4]) == 1


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=5), min_size=1, max_size=12), st.data())
def test_ranks_are_shares_and_likeness_is_a_cosine(sentences, data):
    graph = graph_of(sentences)
    relevances = data.draw(st.lists(st.floats(0, 10), min_size=len(sentences), max_size=len(sentences)))
    assert sum(graph.rank(relevances)) == pytest.approx(1)
    for one in range(len(sentences)):
        for other in range(len(sentences)):
            if one != other:
                assert graph.likeness(one, other) == pytest.approx(graph.likeness(other, one))
                assert 0 <= graph.likeness(one, other) <= 1 + 1e-9
