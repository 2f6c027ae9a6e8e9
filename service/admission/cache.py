"""The guard of the result cache: answers a call whose result is known, and lets one of identical calls find it out.

Invariant: a result is kept, and given to those who waited for it, only once the success that it is from is durable;
what was invalidated since its attempt was started is neither. A cache that fails is a miss.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from podium.v1 import events_pb2, value_pb2
from service.admission.cache_flights import Call, Flight, Flights
from service.admission.guards import AttemptEnd
from service.admission.result_cache import Entry, ResultCache, Source
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import ALLOWED, LOOK_AGAIN_US, Allowed, Answered, Step, Wait
from service.domain.caching import Plan, call_key, plan_of
from service.domain.permissions import Policy
from service.domain.reasons import CANCELED, WORKFLOW_TIMEOUT

_US_PER_MS = 1000
_NOT_OF_THE_TOOL = frozenset({"EXECUTOR_LOST", CANCELED, WORKFLOW_TIMEOUT})
"""Reasons of failures that say nothing about identical calls: the executor is gone, the tool was told to stop, or the
leader's own run had no more time."""
_PASSING_US = 10_000_000
"""How long identical calls do not wait for each other after a failure, or a result that is nobody else's."""
_PASSING_MAX = 10_000
_PLANS_MAX = 10_000
"""Versions of tools of which it is remembered how their results are cached."""


class RemoteResults(Protocol):
    """Where results are kept beside memory."""

    def is_available(self, now_us: int) -> bool:
        """Whether it is worth to ask now: it did not fail lately."""

    def ask(self, call: Call, then: Callable[[Entry | None], None]) -> None:
        """Look for a result; `then` is called later, in any case, and soon."""

    def put(self, call: Call, entry: Entry) -> None:
        """Keep a result there as well, some time."""


class CacheGuard:
    """Answers from memory, else from the remote cache, else lets the call pass or wait for the same call's result.

    `generation_of` gives the position of the last invalidation that speaks of a tenant's tool and arguments (0: none),
    and `is_readable` whether a tenant's value can still be opened.
    """

    name = "cache"

    def __init__(
        self,
        policy_of: Callable[[str], Policy],
        results: ResultCache,
        *,
        generation_of: Callable[[str, str, bytes], int],
        is_readable: Callable[[str, value_pb2.Value], bool],
    ) -> None:
        self._policy_of = policy_of
        self.results = results
        self.flights = Flights()
        self._generation_of = generation_of
        self._remote: RemoteResults | None = None
        self._is_readable = is_readable
        self._plans: dict[tuple[str, str, int], tuple[Policy, Plan | None]] = {}
        self._asked: tuple[ToolRequest | None, Call | None] = (None, None)
        """The request that was let through last, and its call."""
        self._passing: OrderedDict[bytes, int] = OrderedDict()
        """Calls that failed, or whose result was not to be kept, and until when they do not wait for each other."""

    def use_remote(self, remote: RemoteResults) -> None:
        """Keep results there as well, and look there for those that are not in memory."""
        self._remote = remote

    # What the pipeline asks and tells; see service.admission.pipeline

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Answered | Wait:
        """Decide from memory; see Guard."""
        policy = self._policy_of(request.tenant)
        plan = self._plan(policy, request)
        if plan is None:
            return ALLOWED
        key = _key(policy, plan, request)
        step = (request.tenant, request.workflow_id, request.step_id)
        given = self.flights.take_given(step, key)
        if given is not None:
            flight, entry = given
            return self._answer(entry, request, now_us, is_coalesced=flight.is_coalesced)
        found = self.results.fresh(request.tenant, key, now_us)
        if found is not None and self._is_readable(request.tenant, found.value):
            return self._answer(found, request, now_us)
        flight_under_way = self.flights.find(key)
        if flight_under_way is not None:
            return self._follow(flight_under_way, request, step, now_us)
        call = self._call(key, plan, request)
        if self._passing and self._passing.get(key, 0) > now_us:
            self._asked = (request, call)
            return ALLOWED
        if self._remote is not None and self._remote.is_available(now_us):
            flight = self.flights.begin(call, step, is_asking=True)
            self._remote.ask(call, lambda entry: self._remote_answered(flight, entry, now_us))
            return Wait(now_us + LOOK_AGAIN_US, "the remote cache", join=lambda: flight.join(step))
        self._asked = (request, call)
        return ALLOWED

    def started(self, request: ToolRequest, now_us: int) -> None:
        """The call that was let through calls the tool: identical ones wait for it; see Counting."""
        asked, call = self._asked
        if asked is not request or call is None:
            return
        self._asked = (None, None)
        self.results.figures(request.tenant, request.tool.name).misses += 1
        step = (request.tenant, request.workflow_id, request.step_id)
        if self.flights.find(call.key) is not None:
            # It was handed the lead.
            return
        if self._passing.get(call.key, 0) > now_us:
            self.flights.begin_alone(call, step)
        else:
            self.flights.begin(call, step)

    def resumed(self, step: Step, attempt: int, tool: str) -> None:
        """What was started before this process was is of no flight: what it was called with is not known here."""

    def ended(self, end: AttemptEnd) -> None:
        """An attempt ended; see Following. Its success counts once it is durable."""
        if self.flights.is_idle:
            return
        if isinstance(end.outcome, events_pb2.StepSucceeded):
            self.flights.succeeded(end.step)
            return
        flight = self.flights.led_by(end.step)
        if flight is not None and end.outcome is not None and end.outcome.failure.reason not in _NOT_OF_THE_TOOL:
            # Likely it fails for the others too: one after another they would wait for every failure before their own.
            self._pass(flight.call.key, end.now_us)
            self.flights.finish(flight)
        self.flights.left(end.step)

    def durable(self, step: Step, outcome: events_pb2.StepSucceeded, position: int, now_us: int) -> None:
        """A success is durable: keep it, and answer those who waited for it; see Keeping."""
        flight = self.flights.take_ending(step)
        if flight is None or flight.is_over:
            return
        call = flight.call
        ttl_ms = call.plan.lifetime_ms(outcome.cache_ttl_ms if outcome.HasField("cache_ttl_ms") else None)
        if not ttl_ms:
            self._pass(call.key, now_us)
            self.flights.finish(flight)
            return
        value = value_pb2.Value()
        value.CopyFrom(outcome.output)
        entry = entry_of(call, Source(step[1], step[2], position), value, now_us, ttl_ms)
        self.results.keep(entry, now_us)
        self._passing.pop(call.key, None)
        if self._remote is not None:
            self._remote.put(call, entry)
        self.flights.finish(flight, entry, is_coalesced=True)

    def undone(self, step: Step) -> None:
        """A success could not be recorded; see Keeping."""
        flight = self.flights.take_ending(step)
        if flight is not None:
            self.flights.hand_over(flight)

    # What others ask

    def stale(self, request: ToolRequest, max_age_us: int, now_us: int) -> Answered | None:
        """A result in memory that is at most so old (0: any that is kept), fresh or not, for a step that falls back."""
        policy = self._policy_of(request.tenant)
        plan = self._plan(policy, request)
        if plan is None:
            return None
        entry = self.results.stale(request.tenant, _key(policy, plan, request), now_us)
        if entry is None or (max_age_us and now_us - entry.stored_at_us > max_age_us):
            return None
        if not self._is_readable(request.tenant, entry.value):
            return None
        self.results.used(entry, now_us)
        self.results.figures(request.tenant, entry.tool).stale += 1
        hit = _hit(entry, request, now_us)
        hit.stale = now_us >= entry.fresh_until_us
        return Answered(entry.value, hit)

    def invalidate(self, tenant: str, tool: str, arguments_digest: bytes) -> None:
        """Use nothing any more of a tenant's tool (empty: of all) for arguments (empty: for any)."""
        self.results.end(tenant, tool, arguments_digest)
        self.flights.invalidate(tenant, tool, arguments_digest)

    def policy_changed(self, tenant: str) -> None:
        """Under another policy nobody makes the calls any more that are waited for: whoever waits asks anew."""
        self.flights.invalidate(tenant, "", b"")

    # How

    def _plan(self, policy: Policy, request: ToolRequest) -> Plan | None:
        tool = (request.tenant, request.tool.name, request.tool_version)
        known = self._plans.get(tool)
        if known is None or known[0] is not policy:
            if len(self._plans) >= _PLANS_MAX:
                # Worked out again where they are still used.
                self._plans.clear()
            known = self._plans[tool] = (policy, plan_of(policy.caches, request.tool))
        return known[1]

    def _call(self, key: bytes, plan: Plan, request: ToolRequest) -> Call:
        tenant, tool, digest = request.tenant, request.tool.name, request.arguments_digest
        subject = "" if plan.shared else request.authority.principal.subject
        generation = self._generation_of(tenant, tool, digest)
        return Call(key, tenant, tool, request.tool_version, digest, subject, plan, generation)

    def _follow(self, flight: Flight, request: ToolRequest, step: Step, now_us: int) -> Allowed | Wait:
        if flight.leader == step and not flight.is_asking:
            self._asked = (request, flight.call)
            return ALLOWED
        leader = flight.leader
        waits_for = f"the result of {leader[2]} of {leader[1]}" if leader is not None else "the remote cache"
        return Wait(now_us + LOOK_AGAIN_US, waits_for, join=lambda: flight.join(step))

    def _answer(self, entry: Entry, request: ToolRequest, now_us: int, *, is_coalesced: bool = False) -> Answered:
        self.results.used(entry, now_us)
        figures = self.results.figures(request.tenant, entry.tool)
        if is_coalesced:
            figures.coalesced += 1
        else:
            figures.hits += 1
        hit = _hit(entry, request, now_us)
        hit.coalesced = is_coalesced
        return Answered(entry.value, hit)

    def _remote_answered(self, flight: Flight, entry: Entry | None, now_us: int) -> None:
        if flight.is_over:
            return
        if entry is None or not self._is_readable(entry.tenant, entry.value):
            self.flights.asked(flight)
            return
        # An expired one is kept too: it may serve a step that falls back on it.
        self.results.keep(entry, now_us)
        if now_us < entry.fresh_until_us:
            self.flights.finish(flight, entry)
        else:
            self.flights.asked(flight)

    def _pass(self, key: bytes, now_us: int) -> None:
        self._passing[key] = now_us + _PASSING_US
        self._passing.move_to_end(key)
        while len(self._passing) > _PASSING_MAX or next(iter(self._passing.values())) <= now_us:
            self._passing.popitem(last=False)


def entry_of(call: Call, source: Source, value: value_pb2.Value, stored_at_us: int, ttl_ms: int) -> Entry:
    """The entry of a call's result that is fresh for a time."""
    fresh_until_us = stored_at_us + ttl_ms * _US_PER_MS
    return Entry(
        tenant=call.tenant,
        key=call.key,
        tool=call.tool,
        tool_version=call.tool_version,
        arguments_digest=call.arguments_digest,
        subject=call.subject,
        source=source,
        value=value,
        stored_at_us=stored_at_us,
        fresh_until_us=fresh_until_us,
        stale_until_us=fresh_until_us + call.plan.stale_ms * _US_PER_MS,
    )


def _key(policy: Policy, plan: Plan, request: ToolRequest) -> bytes:
    return call_key(
        request.tenant,
        None if plan.shared else request.authority.principal,
        policy.revision,
        request.tool.name,
        request.tool_version,
        request.arguments_digest,
    )


def _hit(entry: Entry, request: ToolRequest, now_us: int) -> events_pb2.CacheHit:
    return events_pb2.CacheHit(
        step_id=request.step_id,
        tool=entry.tool,
        key=entry.key,
        source_workflow_id=entry.source.workflow_id,
        source_step_id=entry.source.step_id,
        source_position=entry.source.position,
        age_us=max(0, now_us - entry.stored_at_us),
    )
