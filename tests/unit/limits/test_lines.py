"""The lines of those who wait: in the order in which they came, and one woken for each slot."""

import pytest

from podium.v1 import policy_pb2
from service.admission.limits import Limit
from service.admission.waiting_lines import LOOK_AGAIN_US, Lines

SECOND_US = 1_000_000
KEY = ("ana",)


def steps(*numbers):
    return [("acme", "wf", f"s{number}") for number in numbers]


@pytest.fixture
def limit():
    """One a second, one at once, and the first was just now."""
    limit = Limit("acme", policy_pb2.RateLimit(id="one", count=60, period_ms=60_000, burst=1), 0)
    limit.count(KEY, 1, 0)
    return limit


@pytest.fixture
def in_force():
    return [True]


@pytest.fixture
def lines(in_force):
    return Lines(lambda _limit: in_force[0])


def test_a_slot_lets_one_through_in_the_order_in_which_they_came(limit, lines):
    for step in steps(1, 2, 3):
        line = lines.join(limit, KEY, step, 1)
    assert line.let_through(0) == ([], SECOND_US)
    assert line.let_through(SECOND_US) == (steps(1), 2 * SECOND_US)
    limit.count(KEY, 1, SECOND_US)
    assert line.let_through(SECOND_US) == ([], 2 * SECOND_US)
    assert line.let_through(2 * SECOND_US) == (steps(2), 3 * SECOND_US)


def test_the_last_one_leaves_nothing_behind(limit, lines):
    (step,) = steps(1)
    line = lines.join(limit, KEY, step, 1)
    assert line.let_through(SECOND_US) == ([step], None)
    line.leave(step)
    assert lines._lines == {}  # noqa: SLF001 - a leak is seen nowhere else
    assert lines._tickets == {}  # noqa: SLF001 - as above


def test_whoever_could_not_start_after_all_stands_in_front_again(limit, lines):
    first, second = steps(1, 2)
    line = lines.join(limit, KEY, first, 1)
    lines.join(limit, KEY, second, 1)
    line.let_through(SECOND_US)
    assert lines.ahead_of(limit, KEY, first) == 0
    lines.join(limit, KEY, first, 1)
    assert line.let_through(SECOND_US)[0] == [first]


def test_a_newcomer_stands_behind_all_who_wait(limit, lines):
    first, second, newcomer = steps(1, 2, 3)
    lines.join(limit, KEY, first, 1)
    lines.join(limit, KEY, second, 1)
    assert lines.ahead_of(limit, KEY, newcomer) == 2
    assert lines.ahead_of(limit, ("bob",), newcomer) == 0


def test_whoever_leaves_is_passed_over(limit, lines):
    for step in steps(1, 2, 3):
        line = lines.join(limit, KEY, step, 1)
    line.leave(steps(1)[0])
    assert len(line) == 2
    assert line.let_through(SECOND_US)[0] == steps(2)


def test_whoever_moves_to_another_line_keeps_its_ticket(limit, lines):
    first, second = steps(1, 2)
    here = lines.join(limit, KEY, first, 1)
    there = lines.join(limit, ("bob",), second, 1)
    lines.join(limit, ("bob",), first, 1)
    here.move_away(first)
    assert (len(here), len(there)) == (0, 2)
    assert there.let_through(0) == ([first], SECOND_US)


def test_one_that_weighs_more_is_waited_for_by_those_behind_it(lines):
    limit = Limit("acme", policy_pb2.RateLimit(id="ten", count=10, period_ms=10_000), 0)
    limit.count(KEY, 10, 0)
    heavy, light = steps(1, 2)
    line = lines.join(limit, KEY, heavy, 5)
    lines.join(limit, KEY, light, 1)
    assert line.let_through(SECOND_US) == ([], 5 * SECOND_US)
    assert line.let_through(5 * SECOND_US)[0] == [heavy]


def test_a_limit_that_is_not_in_force_any_more_holds_nobody_back(limit, lines, in_force):
    for step in steps(1, 2, 3):
        line = lines.join(limit, KEY, step, 1)
    in_force[0] = False
    assert line.let_through(0) == (steps(1, 2, 3), None)


def test_a_long_wait_is_looked_at_in_between(lines):
    limit = Limit("acme", policy_pb2.RateLimit(id="daily", count=1, period_ms=86_400_000), 0)
    limit.count(KEY, 1, 0)
    line = lines.join(limit, KEY, steps(1)[0], 1)
    assert line.let_through(0) == ([], LOOK_AGAIN_US)
