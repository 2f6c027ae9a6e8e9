"""A circuit breaker: closed, open, half-open, held open, disabled or only counting. Pure, with time passed in.

Invariant: every attempt that it was told of as started is under way until it is told of as ended, and gives its permit
back then, whatever became of it. While it is half-open, only attempts with a permit of that very phase count.

States and defaults follow resilience4j (https://resilience4j.readme.io/docs/circuitbreaker): a rate trips when it is
reached, a call is slow when it takes longer than the bound, and half-open begins with the first attempt after the open
time. Two things differ: what ends while it is open counts nothing, and the rates over half-open calls are looked at
when all of them have ended.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from podium.v1 import events_pb2
from service.domain.breaker_settings import (
    CLOSED,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    METRICS_ONLY,
    OPEN,
    BreakerSettings,
)
from service.domain.breaker_window import Counts, CountWindow, TimeWindow

ANY_NUMBER = sys.maxsize
"""Room for attempts that nothing bounds."""
_FROM_BEFORE = 0
"""The phase of what started before the phase of the moment began."""


class Transition(NamedTuple):
    """A change of state, with what was counted until then. See podium.v1.BreakerTransitioned."""

    from_state: int
    to_state: int
    reason: str
    figures: events_pb2.BreakerFigures
    open_until_us: int
    reopened: int


class _UnderWay(NamedTuple):
    """An attempt that has not ended."""

    attempt: int
    phase: int
    started_us: int
    """0: it is not known."""


class Breaker:
    """The breaker of one tool of one tenant. Times are microseconds since the Unix epoch."""

    __slots__ = (
        "_failures_in_a_row",
        "_half_open_until_us",
        "_rejected",
        "_successes_in_a_row",
        "_under_way",
        "_window",
        "changed_at_us",
        "held",
        "open_until_us",
        "permits_taken",
        "phase",
        "reopened",
        "settings",
        "state",
    )

    def __init__(self, settings: BreakerSettings) -> None:
        self.settings = settings
        self.state = settings.initial
        self.held = False
        """Somebody opened it, and it stays so until somebody closes or resets it."""
        self.changed_at_us = 0
        self.open_until_us = 0
        self.reopened = 0
        self.permits_taken = 0
        self.phase = 1
        """Goes up with every transition."""
        self._half_open_until_us = 0
        self._under_way: dict[Hashable, _UnderWay] = {}
        self._window: CountWindow | TimeWindow | None = None
        self._failures_in_a_row = 0
        self._successes_in_a_row = 0
        self._rejected = 0
        self._fit_window()

    # What it lets through

    def room(self, now_us: int) -> int:
        """How many attempts may start now. Asking changes nothing."""
        state = self.state
        if state == OPEN:
            return self.settings.permits if now_us >= self.open_until_us else 0
        if state == HALF_OPEN:
            counted = self._counts(now_us).calls
            free = min(self.settings.permits, self.settings.trials - counted) - self.permits_taken
            return max(0, free)
        return 0 if state == FORCED_OPEN else ANY_NUMBER

    @property
    def timeout_us(self) -> int:
        """How long an attempt may take that starts now; 0: it sets no bound."""
        return 0 if self.state in (DISABLED, METRICS_ONLY) else self.settings.timeout_us

    def tries_again_at_us(self) -> int:
        """When it will let an attempt through that it does not now; 0: nobody can say."""
        return self.open_until_us if self.state == OPEN else 0

    @property
    def over_at_us(self) -> int:
        """When its phase is over by its time alone; 0: it lasts until something happens."""
        return self.open_until_us if self.state == OPEN else self._half_open_until_us

    def is_overdue(self, now_us: int) -> bool:
        """Whether it is half-open for too long, which `pass_time` ends."""
        return self.state == HALF_OPEN and 0 < self._half_open_until_us <= now_us

    def refuse(self) -> None:
        """Count an attempt that was not made."""
        self._rejected += 1

    def pass_time(self, now_us: int) -> Transition | None:
        """End a phase that is over by its time alone: half-open that lasted too long."""
        if self.is_overdue(now_us):
            return self._open("HALF_OPEN_TIMEOUT", now_us, since_us=self._half_open_until_us)
        return None

    # Attempts

    def start(self, key: Hashable, attempt: int, now_us: int) -> Transition | None:
        """An attempt starts, for which there was room. The first after the open time makes the breaker half-open."""
        transition = None
        if self.state == OPEN and now_us >= self.open_until_us:
            transition = self._move(HALF_OPEN, "RECOVERY_TIMEOUT", now_us)
        self._note(key, _UnderWay(attempt, self.phase, now_us))
        return transition

    def resume(self, key: Hashable, attempt: int, started_us: int = 0, *, in_this_phase: bool = False) -> None:
        """An attempt is under way that started before this process did. One that is known already stays as it is."""
        known = self._under_way.get(key)
        if known is None or known.attempt != attempt:
            self._note(key, _UnderWay(attempt, self.phase if in_this_phase else _FROM_BEFORE, started_us))

    def end(self, key: Hashable, attempt: int, reason: str | None, now_us: int) -> Transition | None:
        """An attempt ended: with a failure for a `reason`, with a success (""), or with neither (None).

        Attempt 0 is whichever is under way under the key. One that is not counts nothing.
        """
        return self._judge(now_us) if self.recount(key, attempt, reason, now_us) else None

    def recount(self, key: Hashable, attempt: int, reason: str | None, now_us: int) -> bool:
        """Count an end, and open or close nothing because of it. Whether it counted."""
        ended = self._under_way.get(key)
        if ended is None or attempt not in (0, ended.attempt):
            return False
        del self._under_way[key]
        of_this_phase = ended.phase == self.phase
        if self.state == HALF_OPEN and of_this_phase:
            self.permits_taken -= 1
        if reason is None or self.state not in (CLOSED, HALF_OPEN, METRICS_ONLY):
            return False
        if self.state == HALF_OPEN and not of_this_phase:
            return False
        return self._count(reason, now_us - ended.started_us if ended.started_us else 0, now_us)

    def forget(self) -> None:
        """Forget what was counted, and what is under way."""
        self._under_way.clear()
        self.permits_taken = 0
        self._begin_counting()

    @property
    def under_way(self) -> Sequence[Hashable]:
        """The keys of the attempts that have not ended."""
        return tuple(self._under_way)

    def attempt_of(self, key: Hashable) -> int:
        """The attempt that is under way under a key; 0: none is."""
        known = self._under_way.get(key)
        return known.attempt if known is not None else 0

    def _note(self, key: Hashable, started: _UnderWay) -> None:
        if self.state == HALF_OPEN and started.phase == self.phase:
            self.permits_taken += 1
        self._under_way[key] = started

    def _count(self, reason: str, duration_us: int, now_us: int) -> bool:
        settings = self.settings
        if not reason and settings.timeout_us and duration_us > settings.timeout_us:
            # Its result came before whoever watches the clock.
            reason = "TIMEOUT"
        failed = settings.fails(reason) if reason else False
        if failed is None:
            return False
        if failed:
            self._failures_in_a_row += 1
            self._successes_in_a_row = 0
        else:
            self._failures_in_a_row = 0
            self._successes_in_a_row += 1
        if self._window is not None:
            slow = settings.rates is not None and duration_us > settings.rates.slow_call_us
            self._window.record(failed=failed, slow=slow, now_us=now_us)
        return True

    # What it makes of it

    def _judge(self, now_us: int) -> Transition | None:
        if self.state == CLOSED:
            reason = self._reason_to_open(now_us)
            return self._open(reason, now_us) if reason else None
        return self._judge_trials(now_us) if self.state == HALF_OPEN else None

    def _reason_to_open(self, now_us: int) -> str:
        threshold = self.settings.failure_threshold
        if threshold and self._failures_in_a_row >= threshold:
            return "FAILURES_IN_A_ROW"
        rates = self.settings.rates
        return self._rate_reached(now_us, rates.minimum_calls) if rates is not None else ""

    def _rate_reached(self, now_us: int, minimum_calls: int) -> str:
        rates, counts = self.settings.rates, self._counts(now_us)
        if rates is None or counts.calls < minimum_calls:
            return ""
        if counts.rate(counts.failed, minimum_calls) >= rates.failure_rate:
            return "FAILURE_RATE"
        return "SLOW_CALL_RATE" if counts.rate(counts.slow, minimum_calls) >= rates.slow_call_rate else ""

    def _judge_trials(self, now_us: int) -> Transition | None:
        needed = self.settings.success_threshold
        if needed:
            if self._failures_in_a_row:
                return self._open("HALF_OPEN_FAILURE", now_us)
            return self._move(CLOSED, "SUCCESSES_IN_A_ROW", now_us) if self._successes_in_a_row >= needed else None
        if self._counts(now_us).calls < self.settings.permits:
            return None
        reason = self._rate_reached(now_us, self.settings.permits)
        return self._open(reason, now_us) if reason else self._move(CLOSED, "RATES_RECOVERED", now_us)

    # Who else moves it

    def adopt(self, settings: BreakerSettings, now_us: int) -> Transition | None:
        """Follow other settings from now on. State and counts stay as far as they mean something under them."""
        decided_alike = bool(settings.success_threshold) == bool(self.settings.success_threshold)
        self.settings = settings
        target = self.adopted_state(settings)
        if target != self.state:
            keeps_counts = {target, self.state} == {CLOSED, METRICS_ONLY}
            if keeps_counts:
                self._fit_window()
            return self._move(target, "POLICY_CHANGED", now_us, keeps_counts=keeps_counts)
        self._fit_window()
        if self.state != HALF_OPEN:
            return None
        if not decided_alike:
            self._begin_counting()
        longest_us = settings.half_open_max_us
        self._half_open_until_us = self.changed_at_us + longest_us if longest_us else 0
        # With fewer permits than have been used nobody would come who decides.
        return self._judge_trials(now_us) if self._counts(now_us).calls else None

    def adopted_state(self, settings: BreakerSettings) -> int:
        """The state it has under these settings."""
        if self.held or (settings.initial == CLOSED and self.state in (CLOSED, OPEN, HALF_OPEN)):
            return self.state
        return settings.initial

    def operated(self, to_state: int, reason: str, now_us: int) -> Transition:
        """What an operator's act would be on record as. It changes nothing before it is `restore`d."""
        return Transition(self.state, to_state, reason, self.figures(now_us), 0, 0)

    def restore(self, recorded: events_pb2.BreakerTransitioned, recorded_at_us: int) -> None:
        """Take the state that a recorded transition led to, by an operator or before a restart."""
        self.state = recorded.to_state
        self.held = recorded.to_state == FORCED_OPEN and recorded.reason == "SET_BY_OPERATOR"
        self.open_until_us = recorded.open_until_us
        self.reopened = recorded.reopened
        self._rejected = 0 if recorded.reason == "RESET_BY_OPERATOR" else recorded.figures.rejected
        self._enter(recorded_at_us)

    def _open(self, reason: str, now_us: int, since_us: int = 0) -> Transition:
        reopened = self.reopened + 1 if self.state == HALF_OPEN else 0
        until_us = (since_us or now_us) + self.settings.open_time_us(reopened)
        return self._move(OPEN, reason, now_us, open_until_us=until_us, reopened=reopened)

    def _move(
        self,
        to_state: int,
        reason: str,
        now_us: int,
        *,
        open_until_us: int = 0,
        reopened: int | None = None,
        keeps_counts: bool = False,
    ) -> Transition:
        if reopened is None:
            reopened = self.reopened if to_state == HALF_OPEN else 0
        transition = Transition(self.state, to_state, reason, self.figures(now_us), open_until_us, reopened)
        self.state = to_state
        self.held = False
        self.open_until_us = open_until_us
        self.reopened = reopened
        self._enter(now_us, keeps_counts=keeps_counts)
        return transition

    def _enter(self, now_us: int, *, keeps_counts: bool = False) -> None:
        """Begin a phase. Permits of the one before it are worth nothing any more."""
        self.phase += 1
        self.permits_taken = 0
        self.changed_at_us = now_us
        longest_us = self.settings.half_open_max_us
        self._half_open_until_us = now_us + longest_us if self.state == HALF_OPEN and longest_us else 0
        if self.state in (OPEN, FORCED_OPEN):
            self._rejected = 0
        if not keeps_counts:
            self._begin_counting()

    # What it has counted

    def figures(self, now_us: int) -> events_pb2.BreakerFigures:
        """What it has counted."""
        counts, rates = self._counts(now_us), self.settings.rates
        minimum = self.settings.permits if self.state == HALF_OPEN else rates.minimum_calls if rates else 1
        return events_pb2.BreakerFigures(
            calls=counts.calls,
            failed=counts.failed,
            slow=counts.slow,
            failure_rate=counts.rate(counts.failed, minimum),
            slow_call_rate=counts.rate(counts.slow, minimum),
            failures_in_a_row=self._failures_in_a_row,
            successes_in_a_row=self._successes_in_a_row,
            rejected=self._rejected,
        )

    def _counts(self, now_us: int) -> Counts:
        return self._window.counts(now_us) if self._window is not None else Counts()

    def _begin_counting(self) -> None:
        self._failures_in_a_row = 0
        self._successes_in_a_row = 0
        self._window = None
        self._fit_window()

    def _fit_window(self) -> None:
        """Have the window that the settings ask for in this state, with what fits of the one there is."""
        rates = self.settings.rates
        if self.state == HALF_OPEN:
            trials = self.settings.trials
            self._window = (
                self._window.resized(trials) if isinstance(self._window, CountWindow) else CountWindow(trials)
            )
        elif self.state in (DISABLED, FORCED_OPEN, OPEN) or rates is None:
            self._window = None
        else:
            self._window = rates.window(self._window)
