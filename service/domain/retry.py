"""When a failed attempt is repeated: exponential backoff with jitter, a bound on attempts and a budget of time."""

from __future__ import annotations

from dataclasses import dataclass

from podium.v1 import value_pb2
from service.domain.calls import Call
from service.domain.reasons import INVALID_REASON
from service.domain.state import later_us

ALWAYS_REPEATED = frozenset({"EXECUTOR_LOST", "UNAVAILABLE", "BREAKER_OPEN", "OVERLOADED"})
"""Reasons that are the platform's and not the tool's: repeated for every tool, up to the bound on attempts."""
MULTIPLIER_MAX = 100
"""By which a wait grows at most: more is a slip, and a number no wait could be."""


@dataclass(frozen=True, slots=True)
class RetryDefaults:
    """What a retry policy that leaves fields unset means. Times in milliseconds."""

    max_attempts: int = 3
    """Attempts of a step, the first among them."""
    initial_backoff_ms: int = 500
    """How long the second attempt waits."""
    max_backoff_ms: int = 30_000
    """The longest wait between two attempts."""
    multiplier: float = 2.0
    """By how much each wait is longer than the one before."""
    jitter: float = 0.2
    """Which part of a wait is left to chance, 0 to 1."""


DEFAULTS = RetryDefaults()


def is_repeated(call: Call, failure: value_pb2.Failure) -> bool:
    """Whether a failure with this reason is repeated at all, whatever the number of attempts.

    Without a policy of its own a step repeats what the platform caused, and, when its tool is read-only or
    idempotent, every failure that is marked retryable: repeating anything else might do harm twice.
    """
    policy = call.retry
    if not failure.retryable or failure.reason in policy.never_retry_on:
        return False
    if failure.reason == INVALID_REASON and policy.never_retry_on:
        # Nobody knows whether it is one of those.
        return False
    if failure.reason in ALWAYS_REPEATED:
        return True
    if policy.retry_on:
        return failure.reason in policy.retry_on or "*" in policy.retry_on
    return call.repeatable or policy.max_attempts > 1


def next_attempt_at_us(
    call: Call,
    failure: value_pb2.Failure,
    *,
    attempts: int,
    budget_ends_at_us: int,
    now_us: int,
    chance: float,
    defaults: RetryDefaults = DEFAULTS,
) -> int | None:
    """When the next attempt may start, in microseconds since the Unix epoch; None: there is none.

    The wait before attempt n+1 is initial × multiplier^(n-1), at most the longest wait; `jitter` of it is random.
    """
    policy = call.retry
    if not is_repeated(call, failure) or attempts >= (policy.max_attempts or defaults.max_attempts):
        return None
    initial = policy.initial_backoff_ms or defaults.initial_backoff_ms
    longest = policy.max_backoff_ms or defaults.max_backoff_ms
    multiplier = policy.multiplier or defaults.multiplier
    jitter = policy.jitter if policy.HasField("jitter") else defaults.jitter
    wait_ms = min(longest, initial * multiplier ** min(attempts - 1, 64))
    wait_ms = wait_ms * (1 - jitter) + wait_ms * jitter * chance
    at_us = later_us(now_us, max(wait_ms, failure.retry_after_ms))
    return None if budget_ends_at_us and at_us > budget_ends_at_us else at_us
