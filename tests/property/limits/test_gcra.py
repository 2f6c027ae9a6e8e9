"""The cell rate algorithm against a leaky bucket in exact fractions, which shares nothing with it but the question."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.domain import rate_limit
from service.domain.rate_limit import Rate, after_event, allowed_at_us, is_fresh, used_up

BEGAN_US = 1_800_000_000_000_000

rates = st.builds(Rate, st.integers(1, 1000), st.integers(1, 100_000_000), st.integers(1, 50))


class LeakyBucket:
    """A bucket that holds `burst`, runs out evenly, and takes what fits."""

    def __init__(self, rate):
        self.per_us = Fraction(rate.events, rate.period_us)
        self.size = rate.burst
        self.level = Fraction(0)
        self.at_us = BEGAN_US

    def run_out(self, now_us):
        self.level = max(Fraction(0), self.level - (now_us - self.at_us) * self.per_us)
        self.at_us = now_us

    def fits(self, weight, now_us):
        self.run_out(now_us)
        return self.level + min(weight, self.size) <= self.size

    def pour(self, weight):
        self.level += weight


class Counted(RuleBasedStateMachine):
    """Time passes, events ask, and those that may happen do or do not."""

    algorithm = rate_limit

    @initialize(rate=rates)
    def begin(self, rate):
        self.rate = rate
        self.bucket = LeakyBucket(rate)
        self.arrival = 0
        self.now_us = BEGAN_US
        self.admitted = []

    @rule(us=st.one_of(st.integers(0, 100), st.integers(0, 200_000_000)))
    def time_passes(self, us):
        self.now_us += us

    @rule(weight=st.integers(1, 60), happens=st.booleans())
    def one_asks(self, weight, happens):
        at_us = self.algorithm.allowed_at_us(self.rate, self.arrival, weight)
        allowed = at_us <= self.now_us
        assert allowed == self.bucket.fits(weight, self.now_us)
        if allowed and happens:
            self.arrival = self.algorithm.after_event(self.rate, self.arrival, weight, self.now_us)
            self.bucket.pour(weight)
            self.admitted.append((self.now_us, weight))

    @rule(weight=st.integers(1, 60))
    def one_comes_back_when_it_was_told_to(self, weight):
        at_us = self.algorithm.allowed_at_us(self.rate, self.arrival, weight)
        if at_us > self.now_us:
            assert not self.bucket.fits(weight, at_us - 1)
            self.now_us = at_us
            assert self.bucket.fits(weight, at_us)

    @invariant()
    def what_is_fresh_may_be_forgotten(self):
        if hasattr(self, "rate") and is_fresh(self.rate, self.arrival, self.now_us):
            for weight in (1, self.rate.burst):
                assert allowed_at_us(self.rate, 0, weight) <= self.now_us
                with_memory = after_event(self.rate, self.arrival, weight, self.now_us)
                assert with_memory == after_event(self.rate, 0, weight, self.now_us)


Counted.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestTheAlgorithm = Counted.TestCase


@given(rate=rates, gaps=st.lists(st.integers(0, 10_000_000), max_size=60))
def test_in_no_stretch_of_time_more_pass_than_the_rate_and_the_burst_allow(rate, gaps):
    now_us, arrival, admitted = BEGAN_US, 0, []
    for gap in gaps:
        now_us += gap
        if allowed_at_us(rate, arrival, 1) <= now_us:
            arrival = after_event(rate, arrival, 1, now_us)
            admitted.append(now_us)
    for first, began in enumerate(admitted):
        for last in range(first, len(admitted)):
            allowed = rate.burst + Fraction((admitted[last] - began) * rate.events, rate.period_us)
            assert last - first + 1 <= allowed


@given(rate=rates, past=st.lists(st.integers(0, 5_000_000), max_size=30), cut=st.integers(0, 30))
def test_what_is_forgotten_and_taken_to_be_used_up_never_lets_more_through(rate, past, cut):
    """As after a restart that reads only the end of the log."""
    times, now_us, exact = [], BEGAN_US, 0
    for gap in past:
        now_us += gap
        if allowed_at_us(rate, exact, 1) <= now_us:
            exact = after_event(rate, exact, 1, now_us)
            times.append(now_us)
    known = times[cut:]
    rebuilt = used_up(rate, times[min(cut, len(times)) - 1] if times and cut else 0)
    for at_us in known:
        rebuilt = after_event(rate, rebuilt, 1, at_us)
    assert rebuilt >= exact or not times or not cut
    if not cut:
        rebuilt = 0
        for at_us in times:
            rebuilt = after_event(rate, rebuilt, 1, at_us)
        assert rebuilt == exact


class RoundedDown:
    """An algorithm that rounds in somebody's favour, as one in whole microseconds would."""

    after_event = staticmethod(after_event)

    @staticmethod
    def allowed_at_us(rate, arrival, weight):
        return allowed_at_us(rate, arrival, weight) - 1


def test_an_algorithm_that_is_off_by_a_microsecond_is_found():
    class Wrong(Counted):
        algorithm = RoundedDown

    Wrong.TestCase.settings = settings(
        max_examples=300, stateful_step_count=30, deadline=None, database=None, report_multiple_bugs=False
    )
    with pytest.raises(AssertionError):
        Wrong.TestCase("runTest").runTest()
