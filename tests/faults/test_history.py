"""The history checker accepts what may happen, and refuses each kind of what must not."""

import pytest

from tests.faults.history import Entry, refute

WRITES = [
    Entry("invoke", "a"),
    Entry("invoke", "b"),
    Entry("ok", "a"),
    Entry("invoke", "c"),
    Entry("ok", "b"),
    Entry("fail", "c"),
    Entry("invoke", "d"),
    Entry("unknown", "d"),
    Entry("invoke", "e"),
]


@pytest.mark.parametrize("log", [["a", "b"], ["b", "a"], ["a", "b", "d"], ["a", "b", "e"], ["a", "b", "e", "d"]])
def test_calls_that_overlap_come_in_any_order_and_unknown_ones_may_be_there_or_not(log):
    assert list(refute(WRITES, log)) == []


def test_a_read_sees_what_was_acknowledged_before_it_began_and_perhaps_more():
    history = [*WRITES, Entry("invoke", "read"), Entry("ok", "read", head=2)]
    assert list(refute(history, ["a", "b"])) == []
    assert list(refute(history, ["a", "b", "d"])) == []


@pytest.mark.parametrize(
    ("log", "complaint"),
    [
        (["a"], "b was acknowledged and is not in the log"),
        (["a", "b", "b"], "b is in the log 2 times"),
        (["a", "b", "d", "d"], "d is in the log 2 times"),
        (["a", "b", "c"], "c was refused and is in the log"),
        (["a", "b", "x"], "x is in the log and nobody asked for it"),
        (["d", "a", "b"], "d began after b was acknowledged, and comes before it in the log"),
    ],
)
def test_a_log_that_contradicts_the_answers_is_refused(log, complaint):
    assert complaint in [*refute(WRITES, log)]


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (1, "read read up to 1, though b had been acknowledged at 2"),
        (3, "read read up to 3, and the log ends at 2"),
    ],
)
def test_a_read_that_is_stale_or_ahead_is_refused(head, complaint):
    history = [*WRITES, Entry("invoke", "read"), Entry("ok", "read", head=head)]
    assert list(refute(history, ["a", "b"])) == [complaint]


@pytest.mark.parametrize(
    "history",
    [
        [Entry("ok", "a")],
        [Entry("invoke", "a"), Entry("invoke", "a")],
        [Entry("invoke", "a"), Entry("fail", "a"), Entry("fail", "a")],
        [Entry("invoke", "a"), Entry("maybe", "a")],
    ],
)
def test_a_history_that_is_none_is_refused(history):
    assert list(refute(history, ["a"]))
