"""What is wrong with the breakers of a policy: each violation with its field and what would mend it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from podium.v1 import policy_pb2
from service.domain.errors import Violation
from service.domain.policy_names import glob_violations, id_violations, list_violations
from service.domain.reasons import reason_problem

BREAKERS_MAX = 100
"""The first whose globs fit a tool is looked for once a tool and policy."""
THRESHOLD_MAX = 10_000
WINDOW_CALLS_MAX, WINDOW_SECONDS_MAX = 10_000, 3_600
"""What a window holds in memory for each tool: a byte a call, or a bucket a second."""
DURATION_MAX_MS = 7 * 86_400_000
MULTIPLIER_MAX = 100.0


def breaker_violations(rules: Sequence[policy_pb2.BreakerRule]) -> Iterator[Violation]:
    """What is wrong with breakers."""
    if len(rules) > BREAKERS_MAX:
        yield "breakers", f"has {len(rules)} breakers; at most {BREAKERS_MAX} are allowed"
        return
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        path = f"breakers[{index}]"
        yield from id_violations(path, rule.id, seen)
        yield from glob_violations(f"{path}.tools", rule.tools)
        if rule.mode not in policy_pb2.BreakerMode.values():
            yield f"{path}.mode", "must be normal, disabled, metrics_only or forced_open"
        if rule.when_open not in policy_pb2.WhenOpen.values():
            yield f"{path}.when_open", "must be fail or wait"
        yield from _bounds(path, rule)
        yield from _growth(path, rule)
        if rule.HasField("window"):
            yield from _window(f"{path}.window", rule.window)
        for name, reasons in (("record", rule.record), ("ignore", rule.ignore)):
            yield from _reasons(f"{path}.{name}", reasons)


def _bounds(path: str, rule: policy_pb2.BreakerRule) -> Iterator[Violation]:
    for name in ("failure_threshold", "success_threshold", "half_open_permits"):
        if getattr(rule, name) > THRESHOLD_MAX:
            yield f"{path}.{name}", f"must be at most {THRESHOLD_MAX}"
    for name in ("recovery_timeout_ms", "timeout_ms", "half_open_max_ms", "recovery_max_ms"):
        if getattr(rule, name) > DURATION_MAX_MS:
            yield f"{path}.{name}", "must be at most 7 days; to keep a tool from being called, set mode to forced_open"


def _growth(path: str, rule: policy_pb2.BreakerRule) -> Iterator[Violation]:
    # Not a number is not in the range either.
    if rule.recovery_multiplier and not 1 <= rule.recovery_multiplier <= MULTIPLIER_MAX:
        yield f"{path}.recovery_multiplier", f"must be from 1, which is no growth, to {MULTIPLIER_MAX:.0f}"
    longest = rule.recovery_max_ms
    if longest and rule.recovery_timeout_ms > longest:
        yield f"{path}.recovery_max_ms", "is shorter than recovery_timeout, which is the shortest open time"


def _window(path: str, window: policy_pb2.BreakerWindow) -> Iterator[Violation]:
    if window.kind not in policy_pb2.WindowKind.values():
        yield f"{path}.kind", "must be count or time"
    is_time = window.kind == policy_pb2.WINDOW_KIND_TIME
    most, unit = (WINDOW_SECONDS_MAX, "seconds") if is_time else (WINDOW_CALLS_MAX, "calls")
    if window.size > most:
        yield f"{path}.size", f"must be at most {most} {unit}"
    if not is_time and window.size and window.minimum_calls > window.size:
        yield f"{path}.minimum_calls", f"is more than the {window.size} calls of the window, which it would never have"
    elif window.minimum_calls > WINDOW_CALLS_MAX:
        yield f"{path}.minimum_calls", f"must be at most {WINDOW_CALLS_MAX}"
    for name in ("failure_rate", "slow_call_rate"):
        if not 0 <= getattr(window, name) <= 100:  # noqa: PLR2004 - percent
            yield f"{path}.{name}", "must be more than 0 and at most 100 percent"
    if window.slow_call_ms > DURATION_MAX_MS:
        yield f"{path}.slow_call_ms", "must be at most 7 days"


def _reasons(path: str, reasons: Sequence[str]) -> Iterator[Violation]:
    yield from list_violations(path, reasons)
    for number, reason in enumerate(reasons):
        if problem := reason_problem(reason):
            yield f"{path}[{number}]", problem
