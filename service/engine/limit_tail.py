"""What rate limits have counted, found again after a restart: the attempts in the last stretch of the log.

The stretch is four times as long as the slowest burst takes to come back, within a bound of events. Of what came
before it every key is taken to have used its whole burst, so that a restart never lets more through than the limit
allows; in a log that is shorter than that nothing is taken for granted, and the count is exact.

Invariant: a limit counts what it counted before, and that is what was let through since it is in force as it is: the
decision before each start names the policy's revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from podium.v1 import events_pb2, policy_pb2, value_pb2
from service.admission.rate_limit import InForce, RateLimitGuard, always
from service.domain.permissions import Policy
from store.contract import EventReader, RecordedEvent
from store.records import TYPE_NUMBERS, decode_record

EVENTS_MAX = 200_000
"""How much of the log is read at most: about a second."""
_STRETCHES = 4
_PAGE_EVENTS = 1000
_US_PER_MS = 1000
_ADDED, _CHECKED, _STARTED = (TYPE_NUMBERS[name] for name in ("steps_added", "permission_checked", "attempt_started"))


async def counted_guard(
    reader: EventReader,
    head: int,
    now_us: int,
    policy_of: Callable[[str], Policy],
    tenants: Iterable[str],
    *,
    since: Callable[[str], Sequence[InForce]] = always,
    events_max: int = EVENTS_MAX,
) -> RateLimitGuard:
    """The guard of rate limits, with what the log says was started. Reads nothing when no tenant has a limit.

    `since` tells since when the limits of a tenant are in force.
    """
    stretch_us = _STRETCHES * max((_burst_us(policy_of(tenant)) for tenant in set(tenants)), default=0)
    if not stretch_us:
        return RateLimitGuard(policy_of, since=since)
    after = max(await _position_before(reader, head, now_us - stretch_us), head - events_max)
    before = await reader.read_all(after - 1, limit=1) if after > 0 else []
    unknown_before_us = before[0].recorded_at_us if before else 0
    guard = RateLimitGuard(policy_of, unknown_before_us=unknown_before_us, unknown_to=after, since=since)
    tail = _Tail(guard)
    position = after
    while page := await reader.read_all(position, limit=_PAGE_EVENTS):
        tail.read(page)
        position = page[-1].position
    return guard


def _burst_us(policy: Policy) -> int:
    """How long the slowest limit's whole burst takes to come back."""
    return max(
        (
            (limit.burst or limit.count) * limit.period_ms * _US_PER_MS // max(1, limit.count)
            for limit in policy.limits
            if limit.scope != policy_pb2.LIMIT_SCOPE_REQUESTS
        ),
        default=0,
    )


async def _position_before(reader: EventReader, head: int, time_us: int) -> int:
    """The position of the last event that was recorded before a time; 0: none was. Times never decrease in a log."""
    low, high = 0, head
    while low < high:
        middle = (low + high + 1) // 2
        found = await reader.read_all(middle - 1, limit=1)
        if found and found[0].recorded_at_us < time_us:
            low = middle
        else:
            high = middle - 1
    return low


class _Tail:
    """Reads the events that tell what was started: a decision, and the start that follows it in the same append."""

    def __init__(self, guard: RateLimitGuard) -> None:
        self._guard = guard
        self._allowed: dict[tuple[str, str], events_pb2.PermissionChecked] = {}
        self._roles: dict[bytes, Sequence[str]] = {}

    def read(self, page: Sequence[RecordedEvent]) -> None:
        for recorded in page:
            if recorded.type not in (_ADDED, _CHECKED, _STARTED):
                continue
            stream = (recorded.tenant, recorded.stream_id)
            if recorded.type == _STARTED:
                checked = self._allowed.pop(stream, None)
                if checked is not None:
                    self._count(recorded.tenant, checked, recorded.recorded_at_us)
                continue
            event = decode_record(recorded.record)
            if recorded.type == _CHECKED:
                self._allowed[stream] = event.permission_checked
            else:
                authority = event.steps_added.authority
                self._roles[_name(authority.principal)] = tuple(authority.roles)

    def _count(self, tenant: str, checked: events_pb2.PermissionChecked, at_us: int) -> None:
        principal = checked.principal
        self._guard.recount(
            tenant,
            checked.tool,
            # Whose roles the tail does not tell may have had any, and is counted by every limit.
            self._roles.get(_name(principal)),
            by=(principal.subject, principal.address),
            revision=checked.policy_revision,
            at_us=at_us,
        )


def _name(principal: value_pb2.Principal) -> bytes:
    return principal.SerializeToString(deterministic=True)
