"""What is wrong with the rest of a policy: rate limits, addresses, content patterns and resilience."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from podium.v1 import policy_pb2
from service.domain.addresses import parse_network
from service.domain.caching import cache_violations
from service.domain.errors import Violation
from service.domain.policy_breakers import breaker_violations
from service.domain.policy_bulkheads import bulkhead_violations
from service.domain.policy_names import glob_violations, id_violations, role_violations

LIMITS_MAX = 100
"""Each limit that counts a call costs it a look."""
NETWORKS_MAX = 10_000
PATTERNS_MAX = 100
PATTERN_LENGTH_MAX = 1_024
_PERIOD_MAX_MS = 366 * 86_400_000


class Patterns(Protocol):
    """Compiles content patterns."""

    def pattern_problem(self, text: str) -> str:
        """What is wrong with a pattern's expression; empty: nothing is."""


def bound_violations(policy: policy_pb2.Policy, patterns: Patterns) -> Iterator[Violation]:
    """What is wrong with all of a policy but its roles and rules."""
    yield from _limits(policy.limits)
    yield from _networks("addresses.block", policy.addresses.block)
    yield from _networks("addresses.allow", policy.addresses.allow)
    if policy.addresses.HasField("lockout"):
        yield from _lockout(policy.addresses.lockout)
    yield from _patterns(policy.patterns, patterns)
    yield from cache_violations(policy.caches)
    yield from bulkhead_violations(policy.bulkheads)
    yield from breaker_violations(policy.breakers)


def _limits(limits: Sequence[policy_pb2.RateLimit]) -> Iterator[Violation]:
    if len(limits) > LIMITS_MAX:
        yield "limits", f"has {len(limits)} limits; at most {LIMITS_MAX} are allowed"
        return
    seen: set[str] = set()
    for index, limit in enumerate(limits):
        path = f"limits[{index}]"
        yield from id_violations(path, limit.id, seen)
        if limit.count < 1:
            yield f"{path}.count", "must be at least 1; to allow nothing, write a rule that forbids"
        if not 1 <= limit.period_ms <= _PERIOD_MAX_MS:
            yield f"{path}.period_ms", "must be from 1 millisecond to 366 days"
        if limit.scope not in policy_pb2.LimitScope.values():
            yield f"{path}.scope", "must be attempts or requests"
        yield from glob_violations(f"{path}.tools", limit.tools)
        yield from role_violations(f"{path}.roles", limit.roles)
        yield from _keys(path, limit)
        yield from _weights(path, limit)
        if limit.scope == policy_pb2.LIMIT_SCOPE_REQUESTS and (limit.tools or limit.weights):
            yield f"{path}.{'tools' if limit.tools else 'weights'}", "is for limits on attempts: a request has no tool"


def _keys(path: str, limit: policy_pb2.RateLimit) -> Iterator[Violation]:
    for number, key in enumerate(limit.per):
        if key == policy_pb2.LIMIT_KEY_UNSPECIFIED or key not in policy_pb2.LimitKey.values():
            yield f"{path}.per[{number}]", "must be subject, tool or address"
        elif key in limit.per[:number]:
            yield f"{path}.per[{number}]", "is there twice"
        elif key == policy_pb2.LIMIT_KEY_TOOL and limit.scope == policy_pb2.LIMIT_SCOPE_REQUESTS:
            yield f"{path}.per[{number}]", "is for limits on attempts: a request has no tool"


def _weights(path: str, limit: policy_pb2.RateLimit) -> Iterator[Violation]:
    yield from glob_violations(f"{path}.weights", [weight.tools for weight in limit.weights])
    most = limit.burst or limit.count
    for number, weight in enumerate(limit.weights):
        if not 1 <= weight.weight <= most:
            yield f"{path}.weights[{number}].weight", f"must be from 1 to {most}: a heavier call would never pass"


def _networks(path: str, networks: Sequence[str]) -> Iterator[Violation]:
    if len(networks) > NETWORKS_MAX:
        yield path, f"has {len(networks)} networks; at most {NETWORKS_MAX} are allowed"
        return
    for number, network in enumerate(networks):
        try:
            parse_network(network)
        except ValueError as error:
            yield f"{path}[{number}]", f"is no network in CIDR form, for example 10.0.0.0/8: {error}"


def _lockout(lockout: policy_pb2.Lockout) -> Iterator[Violation]:
    if lockout.failures < 1:
        yield "addresses.lockout.failures", "must be at least 1"
    for field, milliseconds in (("within_ms", lockout.within_ms), ("block_ms", lockout.block_ms)):
        if not 1 <= milliseconds <= _PERIOD_MAX_MS:
            yield f"addresses.lockout.{field}", "must be from 1 millisecond to 366 days"


def _patterns(patterns: Sequence[policy_pb2.ContentPattern], compiler: Patterns) -> Iterator[Violation]:
    if len(patterns) > PATTERNS_MAX:
        yield "patterns", f"has {len(patterns)} patterns; at most {PATTERNS_MAX} are allowed"
        return
    seen: set[str] = set()
    for index, pattern in enumerate(patterns):
        path = f"patterns[{index}]"
        yield from id_violations(path, pattern.id, seen)
        if not 1 <= len(pattern.expression) <= PATTERN_LENGTH_MAX:
            yield f"{path}.expression", f"must have 1 to {PATTERN_LENGTH_MAX} characters"
        elif problem := compiler.pattern_problem(pattern.expression):
            yield f"{path}.expression", problem
        if not pattern.refuse_input and not pattern.redact_output:
            yield path, "does nothing: set refuse_input or redact_output"
