"""The settings of a breaker: a rule of the policy with every default filled in.

Invariant: `SETTINGS_OF_NO_RULE` lets everything through, and what a rule leaves unset means what the contract says.
"""

from __future__ import annotations

from dataclasses import dataclass

from podium.v1 import events_pb2, policy_pb2
from service.domain.breaker_window import CountWindow, TimeWindow
from service.domain.reasons import CANCELED, TIMEOUT, WORKFLOW_TIMEOUT
from service.domain.state import LATEST_US, US_PER_MS

CLOSED = events_pb2.BREAKER_STATE_CLOSED
OPEN = events_pb2.BREAKER_STATE_OPEN
HALF_OPEN = events_pb2.BREAKER_STATE_HALF_OPEN
FORCED_OPEN = events_pb2.BREAKER_STATE_FORCED_OPEN
DISABLED = events_pb2.BREAKER_STATE_DISABLED
METRICS_ONLY = events_pb2.BREAKER_STATE_METRICS_ONLY

FAILURE_THRESHOLD, SUCCESS_THRESHOLD = 5, 1
"""Of a rule that says nothing of them and has no window."""
RECOVERY_TIMEOUT_MS = 60_000
HALF_OPEN_PERMITS = 10
WINDOW_SIZE, MINIMUM_CALLS = 100, 100
FAILURE_RATE, SLOW_CALL_RATE = 50.0, 100.0
SLOW_CALL_MS = 60_000
_GROWN_MOST = 64
"""So often an open time grows. Beyond it a multiplier of 1.5 has made 1 ms of it five years."""

_STATES = {
    policy_pb2.BREAKER_MODE_DISABLED: DISABLED,
    policy_pb2.BREAKER_MODE_METRICS_ONLY: METRICS_ONLY,
    policy_pb2.BREAKER_MODE_FORCED_OPEN: FORCED_OPEN,
}


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates over a window."""

    counts_calls: bool
    """Its size is a number of calls, and of seconds otherwise."""
    size: int
    minimum_calls: int
    failure_rate: float
    slow_call_rate: float
    slow_call_us: int

    def window(self, before: CountWindow | TimeWindow | None = None) -> CountWindow | TimeWindow:
        """A window for them, with what one of the same kind `before` it holds."""
        kind = CountWindow if self.counts_calls else TimeWindow
        return before.resized(self.size) if isinstance(before, kind) else kind(self.size)


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """What a breaker does. Durations in microseconds."""

    rule: str
    """The rule's id; empty: there is none."""
    initial: int
    """The state that it begins with, and stays in unless that is closed."""
    waits: bool
    """Attempts wait while it is open."""
    failure_threshold: int
    """0: not counted."""
    success_threshold: int
    """0: the rates decide."""
    recovery_us: int
    recovery_multiplier: float
    recovery_max_us: int
    timeout_us: int
    """0: none."""
    rates: Rates | None
    permits: int
    half_open_max_us: int
    """0: no bound."""
    record: frozenset[str]
    ignore: frozenset[str]

    @property
    def trials(self) -> int:
        """How many attempts may count while it is half-open."""
        return max(self.permits, self.success_threshold)

    def open_time_us(self, reopened: int) -> int:
        """How long it stays open when it opens from half-open for so many a time."""
        grown = self.recovery_us * self.recovery_multiplier ** min(reopened, _GROWN_MOST)
        return round(min(grown, self.recovery_max_us or LATEST_US))

    def fails(self, reason: str) -> bool | None:
        """Whether a failure with this reason counts as one, or as a success; None: as neither."""
        # Who speaks of timeouts means also that of the whole run, which can be spoken of by itself.
        names = {TIMEOUT, reason} if reason == WORKFLOW_TIMEOUT else {reason}
        if not self.ignore.isdisjoint(names) or (reason == CANCELED and CANCELED not in self.record):
            # Whoever is told to stop says nothing of how the tool is.
            return None
        return not self.record or not self.record.isdisjoint(names)


def settings_of(rule: policy_pb2.BreakerRule) -> BreakerSettings:
    """What a rule says."""
    rates = _rates(rule.window) if rule.HasField("window") else None
    success_threshold = rule.success_threshold or (0 if rates else SUCCESS_THRESHOLD)
    return BreakerSettings(
        rule=rule.id,
        initial=_STATES.get(rule.mode, CLOSED),
        waits=rule.when_open == policy_pb2.WHEN_OPEN_WAIT,
        failure_threshold=rule.failure_threshold or (0 if rates else FAILURE_THRESHOLD),
        success_threshold=success_threshold,
        recovery_us=(rule.recovery_timeout_ms or RECOVERY_TIMEOUT_MS) * US_PER_MS,
        recovery_multiplier=rule.recovery_multiplier or 1.0,
        recovery_max_us=rule.recovery_max_ms * US_PER_MS,
        timeout_us=rule.timeout_ms * US_PER_MS,
        rates=rates,
        permits=rule.half_open_permits or success_threshold or HALF_OPEN_PERMITS,
        half_open_max_us=rule.half_open_max_ms * US_PER_MS,
        record=frozenset(rule.record),
        ignore=frozenset(rule.ignore),
    )


def _rates(window: policy_pb2.BreakerWindow) -> Rates:
    counts_calls = window.kind != policy_pb2.WINDOW_KIND_TIME
    size, minimum_calls = window.size or WINDOW_SIZE, window.minimum_calls or MINIMUM_CALLS
    return Rates(
        counts_calls=counts_calls,
        size=size,
        minimum_calls=min(minimum_calls, size) if counts_calls else minimum_calls,
        failure_rate=window.failure_rate or FAILURE_RATE,
        slow_call_rate=window.slow_call_rate or SLOW_CALL_RATE,
        slow_call_us=(window.slow_call_ms or SLOW_CALL_MS) * US_PER_MS,
    )


SETTINGS_OF_NO_RULE = settings_of(policy_pb2.BreakerRule(mode=policy_pb2.BREAKER_MODE_DISABLED))
"""Those of a tool of which no rule speaks."""
