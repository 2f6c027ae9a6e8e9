"""`podium.cacheable` against a list that is searched from its beginning; they share nothing but the question."""

import dataclasses
from dataclasses import dataclass

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import podium

SYMBOLS = st.sampled_from(["a", "b", "c", "e"])
SIZES = st.sampled_from([1, 2])


CONTROLS = settings(
    max_examples=300,
    stateful_step_count=20,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate],
)


class Down(Exception):
    """What the function raises."""


@dataclass
class Row:
    """A result that is kept."""

    call: tuple
    value: object
    at: float


class Naive:
    """Rows, the one used last at the end."""

    def __init__(self, ttl, stale, maxsize):
        self.ttl, self.stale, self.maxsize = ttl, stale, maxsize
        self.rows = []
        self.counts = dict.fromkeys(("hits", "misses", "evictions", "errors", "stale", "coalesced"), 0)

    def call(self, call, now, run):
        self.rows = [row for row in self.rows if row.call != call or now - row.at < self.ttl + self.stale]
        row = next((row for row in self.rows if row.call == call), None)
        if row is not None and now - row.at < self.ttl:
            self.counts["hits"] += 1
            self.rows = [each for each in self.rows if each is not row] + [row]
            return row.value
        self.counts["misses"] += 1
        try:
            value = run()
        except Down:
            self.counts["errors"] += 1
            if row is None or self.ttl == 0:
                raise
            self.counts["stale"] += 1
            return row.value
        if self.ttl > 0:
            self.rows = [each for each in self.rows if each is not row] + [Row(call, value, now)]
            if len(self.rows) > self.maxsize:
                self.counts["evictions"] += 1
                del self.rows[0]
        return value

    def invalidate(self, fits):
        before = len(self.rows)
        self.rows = [row for row in self.rows if not fits(row.call)]
        return before - len(self.rows)


class Calls(RuleBasedStateMachine):
    """Time passes; calls come in every spelling; the function fails or does not; callers change what they get."""

    cacheable = staticmethod(podium.cacheable)

    @initialize(ttl=st.sampled_from([1, 5, 0]), stale=st.sampled_from([4, 0]), maxsize=st.integers(1, 4))
    def begin(self, ttl, stale, maxsize):
        self.now = 100.0
        self.runs = 0
        self.is_down = False
        self.naive = Naive(ttl, stale, maxsize)

        def price(symbol, size=1):
            return self.run(symbol, size)

        self.cached = self.cacheable(ttl=ttl, stale=stale, maxsize=maxsize, clock=lambda: self.now)(price)

    def run(self, symbol, size):
        if self.is_down:
            raise Down
        self.runs += 1
        return None if symbol == "e" else {"what": [symbol, size], "run": self.runs}

    @rule(symbol=SYMBOLS, size=SIZES, is_down=st.booleans(), spelling=st.integers(0, 3))
    def called(self, symbol, size, is_down, spelling):
        self.is_down = is_down
        before = self.runs
        expected = self.outcome(lambda: self.naive.call((symbol, size), self.now, lambda: self.run(symbol, size)))
        self.runs = before
        if spelling == 0 and size == 1:
            got = self.outcome(lambda: self.cached(symbol))
        elif spelling == 1:
            got = self.outcome(lambda: self.cached(size=size, symbol=symbol))
        else:
            got = self.outcome(lambda: self.cached(symbol, size))
        assert got == expected
        if isinstance(got, dict):
            got["what"].append("mine")

    @rule(symbol=SYMBOLS, size=SIZES, seconds=st.sampled_from([1, 0, 0.5, 4, 5]), is_down=st.booleans())
    def called_twice(self, symbol, size, seconds, is_down):
        """What is stale is rare otherwise: a call that goes well, and the same one soon after."""
        self.called(symbol, size, is_down=False, spelling=1)
        self.now += seconds
        self.called(symbol, size, is_down=is_down, spelling=2)

    @staticmethod
    def outcome(call):
        try:
            return call()
        except Down:
            return "down"

    @rule(seconds=st.sampled_from([0.5, 1, 4, 10]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(symbol=SYMBOLS)
    def one_is_forgotten(self, symbol):
        assert podium.invalidate_cache(self.cached, symbol) == self.naive.invalidate(lambda call: call == (symbol, 1))

    @rule()
    def all_are_forgotten(self):
        assert podium.invalidate_cache(self.cached) == self.naive.invalidate(lambda _: True)

    @invariant()
    def the_figures_are_true(self):
        if hasattr(self, "cached"):
            expected = {**self.naive.counts, "size": len(self.naive.rows)}
            assert dataclasses.asdict(podium.get_cache_stats(self.cached)) == expected


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def longer(**changes):
    """`cacheable`, with settings other than asked for."""

    def declare(**asked):
        return podium.cacheable(
            **{name: changes[name](value) if name in changes else value for name, value in asked.items()}
        )

    return declare


@pytest.mark.parametrize(
    "broken",
    [longer(ttl=lambda ttl: ttl + 0.5), longer(maxsize=lambda maxsize: maxsize + 1), longer(stale=lambda _: 0)],
    ids=["fresh for too long", "keeps too many", "no stale results"],
)
def test_a_cache_that_is_not_as_asked_is_found(broken):
    class Broken(Calls):
        cacheable = staticmethod(broken)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=CONTROLS)


def test_a_cache_that_hands_out_what_it_keeps_is_found(monkeypatch):
    monkeypatch.setattr("podium.function_cache.copied", lambda value: value)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Calls, settings=CONTROLS)
