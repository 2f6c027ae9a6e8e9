"""The guard of rate limits: counts the attempts that start, and says when one that must wait may be asked for again.

Asking counts nothing. What is allowed is counted when the attempt is started, in the same turn and so with nothing in
between: by all limits that apply or, when one of them does not let it through, by none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from podium.v1 import events_pb2, policy_pb2
from service.admission.limits import Begun, Key, Limit, Limits
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import ALLOWED, LOOK_AGAIN_US, Allowed, Step, Wait
from service.admission.waiting_lines import Line, Lines
from service.domain.permissions import Policy
from service.domain.rate_limit import allowed_at_us


class _Counted(NamedTuple):
    """A limit that counts a request: by which key, and for how much."""

    limit: Limit
    key: Key
    weight: int


class InForce(NamedTuple):
    """A limit of a policy, and since when it is in force as it is, without a break."""

    limit: policy_pb2.RateLimit
    revision: int
    """Of the policy."""
    position: int
    """In the log."""


def always(_tenant: str) -> Sequence[InForce]:
    """Whatever is in force has been from the beginning."""
    return ()


class RateLimitGuard:
    """Lets an attempt wait until every limit of its tenant's policy lets it through.

    `policy_of` gives a tenant's current policy. Of what was started before `unknown_before_us`, the time of the log's
    position `unknown_to`, nothing is known: every key is then taken to have used its whole burst by that time, of the
    limits that were in force already, by what `since` says of a tenant's.
    """

    name = "rate_limit"

    def __init__(
        self,
        policy_of: Callable[[str], Policy],
        *,
        unknown_before_us: int = 0,
        unknown_to: int = 0,
        since: Callable[[str], Sequence[InForce]] = always,
    ) -> None:
        self._policy_of = policy_of
        self._unknown_before_us = unknown_before_us
        self._unknown_to = unknown_to
        self._since = since
        self._limits: dict[str, Limits] = {}
        self._lines = Lines(self._is_in_force)
        self._asked: tuple[ToolRequest | None, Sequence[_Counted]] = (None, ())

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Wait:
        """Decide from memory; see service.admission.pipeline.Guard."""
        limits = self._current(request.tenant)
        if not limits.limits:
            return ALLOWED
        counted = _counted(limits, request)
        self._asked = (request, counted)
        step = (request.tenant, request.workflow_id, request.step_id)
        latest: tuple[int, _Counted] | None = None
        for each in counted:
            limit, key, weight = each
            ahead = self._lines.ahead_of(limit, key, step)
            arrival_ticks = limit.arrival_ticks(key) + ahead * limit.rate.period_us
            at_us = allowed_at_us(limit.rate, arrival_ticks, weight)
            if at_us > now_us or ahead:
                # Behind others even a free slot is not this step's: it waits until the line has moved.
                at_us = max(at_us, now_us + 1)
                latest = max(latest or (0, each), (at_us, each), key=_time)
        if latest is None:
            return ALLOWED
        wait = self._wait(*latest, revision=limits.policy.revision, step=step)
        return wait._replace(until_us=min(wait.until_us, now_us + LOOK_AGAIN_US))

    def started(self, request: ToolRequest, now_us: int) -> None:
        """Count an attempt that starts, which was asked about last; see service.admission.pipeline.Counting."""
        asked, counted = self._asked
        if asked is request:
            for limit, key, weight in counted:
                limit.count(key, weight, now_us)
            self._asked = (None, ())

    def recount(
        self, tenant: str, tool: str, roles: Sequence[str] | None, *, by: tuple[str, str], revision: int, at_us: int
    ) -> None:
        """Count an attempt that was started before this process was, `by` a subject at an address.

        It was let through under a `revision` of the policy: by the limits that came after that it was not counted.
        """
        for limit, weight in self._current(tenant).of(tool, roles):
            if limit.revision <= revision:
                limit.count(limit.key_of(by[0], tool, by[1]), weight, at_us)

    def policy_changed(self, tenant: str) -> None:
        """A tenant has another policy. Limits that it does not hold forget what they counted, whoever asks later."""
        self._current(tenant)

    def limits_of(self, tenant: str) -> Sequence[Limit]:
        """The limits of a tenant."""
        return self._current(tenant).limits

    def _wait(self, at_us: int, counted: _Counted, *, revision: int, step: Step) -> Wait:
        limit, key, weight = counted
        record = events_pb2.RateLimited(
            step_id=step[2], limit=limit.message.id, retry_at_us=at_us, policy_revision=revision
        )

        def join() -> Line:
            return self._lines.join(limit, key, step, weight)

        return Wait(at_us, f"the limit {limit.message.id}", record, join)

    def _current(self, tenant: str) -> Limits:
        policy = self._policy_of(tenant)
        limits = self._limits.get(tenant)
        if limits is None or limits.policy is not policy:
            limits = self._limits[tenant] = Limits(
                tenant,
                policy,
                policy_pb2.LIMIT_SCOPE_ATTEMPTS,
                limits,
                # A limit that comes with a new policy counts from then on.
                begun=self._begun(tenant) if limits is None else None,
            )
        return limits

    def _begun(self, tenant: str) -> Callable[[policy_pb2.RateLimit], Begun]:
        """From when on the limits count that this process found in force."""
        since = self._since(tenant)

        def begun(message: policy_pb2.RateLimit) -> Begun:
            found = next((each for each in since if each.limit == message), None)
            if found is None:
                return Begun(self._unknown_before_us, 0)
            return Begun(self._unknown_before_us if found.position <= self._unknown_to else 0, found.revision)

        return begun

    def _is_in_force(self, limit: Limit) -> bool:
        self._current(limit.tenant)
        return limit.in_force


def _counted(limits: Limits, request: ToolRequest) -> Sequence[_Counted]:
    principal = request.authority.principal
    tool = request.tool.name
    return [
        _Counted(limit, limit.key_of(principal.subject, tool, principal.address), weight)
        for limit, weight in limits.of(tool, request.authority.roles)
    ]


def _time(found: tuple[int, _Counted]) -> int:
    return found[0]
