"""Whatever happens in whatever order, the breaker does what the naive one does, and no permit is lost."""

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from podium.v1 import events_pb2, policy_pb2
from service.domain.breaker import ANY_NUMBER, Breaker
from service.domain.breaker_settings import settings_of
from tests.unit.breaker.reference import Reference

windows = st.builds(
    policy_pb2.BreakerWindow,
    kind=st.integers(0, 2),
    size=st.integers(1, 6),
    minimum_calls=st.integers(1, 6),
    failure_rate=st.sampled_from([0, 25, 50, 100]),
    slow_call_rate=st.sampled_from([0, 50, 100]),
    slow_call_ms=st.sampled_from([0, 300, 2_000]),
)
rules = st.builds(
    policy_pb2.BreakerRule,
    failure_threshold=st.integers(0, 4),
    recovery_timeout_ms=st.sampled_from([500, 2_000]),
    success_threshold=st.integers(0, 3),
    timeout_ms=st.sampled_from([0, 0, 1_500]),
    window=st.none() | windows,
    half_open_permits=st.integers(0, 4),
    half_open_max_ms=st.sampled_from([0, 0, 3_000]),
    recovery_multiplier=st.sampled_from([0, 2, 1.5]),
    recovery_max_ms=st.sampled_from([0, 5_000]),
    record=st.sampled_from([[], ["BROKEN", "TIMEOUT"], ["BROKEN", "WORKFLOW_TIMEOUT"], ["CANCELED"]]),
    ignore=st.sampled_from([[], ["BAD_INPUT"], ["TIMEOUT"], ["WORKFLOW_TIMEOUT"]]),
)
reasons = st.sampled_from(["", "", "BROKEN", "BROKEN", "BAD_INPUT", "TIMEOUT", "WORKFLOW_TIMEOUT", "CANCELED", None])


class Comparison(RuleBasedStateMachine):
    """Both are told the same."""

    breaker_type = Breaker

    def __init__(self):
        super().__init__()
        self.now_us = 1_700_000_000_000_000
        self.started = 0

    @initialize(chosen=rules)
    def begin(self, chosen):
        self.breaker = self.breaker_type(settings_of(chosen))
        self.reference = Reference(chosen)
        self.reason = ""

    def moved(self, transition):
        if transition is not None:
            self.reason = transition.reason

    @rule(ms=st.sampled_from([1, 100, 299, 500, 1_000, 2_500, 7_000]))
    def time_passes(self, ms):
        self.now_us += ms * 1000

    @rule(count=st.integers(1, 4))
    def attempts_start(self, count):
        for _ in range(count):
            self.moved(self.breaker.pass_time(self.now_us))
            self.reference.pass_time(self.now_us)
            if not self.breaker.room(self.now_us):
                return
            self.started += 1
            self.moved(self.breaker.start(self.started, 1, self.now_us))
            self.reference.start(self.started, self.now_us)

    @rule(which=st.integers(0, 30), reason=reasons)
    def an_attempt_ends(self, which, reason):
        if self.reference.calls:
            self.moved(self.breaker.pass_time(self.now_us))
            self.reference.pass_time(self.now_us)
            key = sorted(self.reference.calls)[which % len(self.reference.calls)]
            self.moved(self.breaker.end(key, 1, reason, self.now_us))
            self.reference.end(key, reason, self.now_us)

    @rule(which=st.integers(0, 30))
    def an_end_is_told_again(self, which):
        if self.started:
            key = 1 + which % self.started
            if key not in self.reference.calls:
                assert self.breaker.end(key, 1, "BROKEN", self.now_us) is None

    @invariant()
    def both_say_the_same(self):
        if not hasattr(self, "breaker"):
            return
        state = events_pb2.BreakerState.Name(self.breaker.state).removeprefix("BREAKER_STATE_").lower()
        assert (state, self.reason) == (self.reference.state, self.reference.reason)
        if state == "open":
            assert self.breaker.open_until_us == self.reference.phases[-1][3]
        assert len(self.breaker.under_way) == len(self.reference.calls)
        room = self.breaker.room(self.now_us)
        assert (None if room == ANY_NUMBER else room) == self.reference.room(self.now_us)


SHORT = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_it_does_what_the_naive_one_does():
    run_state_machine_as_test(Comparison, settings=SHORT)


class TripsLate(Breaker):
    """A rate must be exceeded."""

    def _rate_reached(self, now_us, minimum_calls):
        reason = super()._rate_reached(now_us, minimum_calls)
        counts = self._counts(now_us)
        exact = reason == "FAILURE_RATE" and 100 * counts.failed / counts.calls == self.settings.rates.failure_rate
        return "" if exact and counts.failed < counts.calls else reason


class LosesPermits(Breaker):
    """An attempt without an outcome keeps its permit."""

    def end(self, key, attempt, reason, now_us):
        taken = self.permits_taken
        transition = super().end(key, attempt, reason, now_us)
        if reason is None:
            self.permits_taken = taken
        return transition


@pytest.mark.parametrize("broken", [TripsLate, LosesPermits])
def test_the_comparison_finds_a_breaker_that_is_broken(broken):
    class Broken(Comparison):
        breaker_type = broken

    # The first that is found will do, however long it is.
    finding = settings(
        SHORT,
        max_examples=3_000,
        phases=[Phase.generate],
        database=None,
        report_multiple_bugs=False,
        derandomize=True,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=finding)
