"""The rate limits of a policy, compiled: which of them count a call, by which key, and what they have counted.

Memory is bounded by what was counted within the time in which a burst comes back, and by a number of keys: older keys
are dropped as newer ones are counted. Dropping never lets more through than the limit allows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from podium.v1 import policy_pb2
from service.domain.addresses import host_of
from service.domain.permissions import Policy
from service.domain.rate_limit import Rate, after_event, is_fresh, used_up

US_PER_MS = 1000
_PARTS = (policy_pb2.LIMIT_KEY_SUBJECT, policy_pb2.LIMIT_KEY_TOOL, policy_pb2.LIMIT_KEY_ADDRESS)
_REMEMBERED = 4096
"""Questions whose limits are remembered before all are forgotten; forgetting costs time only."""
_DROPPED_AT_ONCE = 2
KEYS_MAX = 100_000
"""Keys that a limit remembers. Of one beyond them it is only known that it had used no more than the most used that was
dropped, and so that is what every key is taken to have used of which nothing else is known."""

Key = tuple[str, ...]
"""What a limit counts by: subject, tool and the address's host, as far as it names them."""


class Begun(NamedTuple):
    """From when on a limit counts."""

    unknown_before_us: int
    """Of what was counted before this time nothing is known; 0: there was nothing."""
    revision: int
    """The policy's revision with which it came into force as it is."""


class Limit:
    """One rate limit of a tenant, with what it has counted."""

    __slots__ = (
        "_assumed_ticks",
        "_by_address",
        "_counted",
        "_parts",
        "in_force",
        "message",
        "rate",
        "revision",
        "tenant",
    )

    def __init__(self, tenant: str, message: policy_pb2.RateLimit, unknown_before_us: int, revision: int = 0) -> None:
        """Of what was counted before `unknown_before_us` nothing is known (0: there was nothing).

        It came into force, as it is, with this `revision` of the policy.
        """
        self.tenant = tenant
        self.message = message
        self.revision = revision
        self.rate = Rate(max(1, message.count), max(1, message.period_ms) * US_PER_MS, message.burst or message.count)
        self._assumed_ticks = used_up(self.rate, unknown_before_us) if unknown_before_us else 0
        self._parts = [_PARTS.index(part) for part in message.per if part in _PARTS]
        self._by_address = policy_pb2.LIMIT_KEY_ADDRESS in message.per
        self._counted: OrderedDict[Key, int] = OrderedDict()
        """Theoretical arrival times, in the order in which the keys were last counted."""
        self.in_force = True

    @property
    def keys(self) -> int:
        """How many keys it remembers."""
        return len(self._counted)

    def arrival_ticks(self, key: Key) -> int:
        """The theoretical arrival time of a key."""
        return self._counted.get(key, self._assumed_ticks)

    def count(self, key: Key, weight: int, now_us: int) -> None:
        """Something happened. What need not be remembered any more is dropped, a little each time."""
        counted = self._counted
        counted[key] = after_event(self.rate, self.arrival_ticks(key), weight, now_us)
        counted.move_to_end(key)
        for _ in range(_DROPPED_AT_ONCE):
            oldest, ticks = next(iter(counted.items()))
            # The key that was counted just now is never fresh, so that something is always left.
            if not is_fresh(self.rate, ticks, now_us):
                if len(counted) <= KEYS_MAX:
                    return
                self._assumed_ticks = max(self._assumed_ticks, ticks)
            del counted[oldest]

    def key_of(self, subject: str, tool: str, address: str) -> Key:
        """What the limit counts a call by."""
        names = (subject, tool, host_of(address) if self._by_address else address)
        return tuple([names[part] for part in self._parts])

    def counts(self, tool: str, roles: Sequence[str] | None) -> bool:
        """Whether it counts calls of a tool ("" for a request to the API) under these roles (None: unknown ones)."""
        named = not tool or not self.message.tools or any(fnmatchcase(tool, glob) for glob in self.message.tools)
        return named and (roles is None or not self.message.roles or not set(roles).isdisjoint(self.message.roles))

    def weight_of(self, tool: str) -> int:
        """What a call of a tool counts for."""
        weights = (max(1, each.weight) for each in self.message.weights if fnmatchcase(tool, each.tools))
        return next(weights, 1)


class Applied(NamedTuple):
    """A limit that counts a call, and what the call counts for."""

    limit: Limit
    weight: int


class Limits:
    """The limits of one scope in one tenant's policy."""

    def __init__(
        self,
        tenant: str,
        policy: Policy,
        scope: int,
        before: Limits | None = None,
        *,
        begun: Callable[[policy_pb2.RateLimit], Begun] | None = None,
    ) -> None:
        """What `before` counted for limits that are the same stays counted. Others begin as `begun` says, else now."""
        self.policy = policy
        begins_now = Begun(0, policy.revision)
        kept: list[Limit] = before.limits if before is not None else []
        self.limits: list[Limit] = [
            next((limit for limit in kept if limit.message == message), None)
            or Limit(tenant, message, *(begun(message) if begun is not None else begins_now))
            for message in policy.limits
            if (message.scope or policy_pb2.LIMIT_SCOPE_ATTEMPTS) == scope
        ]
        for limit in kept:
            limit.in_force = limit in self.limits
        self._applied: dict[tuple[str, tuple[str, ...] | None], tuple[Applied, ...]] = {}

    def of(self, tool: str, roles: Sequence[str] | None) -> tuple[Applied, ...]:
        """The limits that count a call of a tool under these roles; None: roles that are not known."""
        question = (tool, None if roles is None else tuple(roles))
        applied = self._applied.get(question)
        if applied is None:
            if len(self._applied) >= _REMEMBERED:
                self._applied.clear()
            applied = self._applied[question] = tuple(
                Applied(limit, limit.weight_of(tool)) for limit in self.limits if limit.counts(tool, roles)
            )
        return applied
