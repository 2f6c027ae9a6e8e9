"""Decides recorded calls again under another policy, without changing anything.

Each decision is made of what the log has: the step's authority, its arguments from the workflow's state just before the
decision, and the time of the record. What is sealed stays sealed: a decision that would need it is counted as one that
cannot be made, because whoever writes conditions could otherwise ask them for what was sealed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import orjson

from podium.v1 import access_service_pb2 as pb
from podium.v1 import events_pb2
from service.domain.evolve import evolve
from service.domain.permissions import Case, PermissionDecision, Policy, case_of
from service.domain.policy_rules import facts_of
from service.domain.state import Step, Workflow
from service.domain.values import PayloadNotLoadedError, arguments_text
from service.engine.payloads import PayloadCache
from store.contract import SHARD, EventStore, RecordedEvent, StoreError
from store.records import TYPE_NUMBERS, UnknownEventTypeError, decode_record, known_payload

_CHECKED = TYPE_NUMBERS["permission_checked"]
_PAGE = 500
"""Events that are read at once; progress is told after each page."""
_FOLDED_AT_ONCE = 200
_FOLDED_EVENTS = 100_000
"""States are kept while so many events are folded into all of them together."""
_PAYLOAD_BYTES = 32 * 1024 * 1024
_PAYLOADS_A_CALL = 64
_CASES = 1_000
_AT_ONCE = 2
"""Previews that run; further ones wait."""


class _UndecidableError(Exception):
    """What the decision rests on is not there, or sealed."""


@dataclass(slots=True)
class _Folded:
    """A workflow as its stream says up to a version."""

    state: Workflow = field(default_factory=Workflow)
    version: int = 0


@dataclass(slots=True)
class Preview:
    """One look at what another policy would have decided, and what it has found."""

    tenant: str
    policy: Policy
    since_us: int
    max_changes: int
    decided: int = 0
    changed: int = 0
    undecidable: int = 0
    changes: list[pb.ChangedDecision] = field(default_factory=list)
    """Those that were not told yet."""
    states: OrderedDict[str, _Folded] = field(default_factory=OrderedDict)
    cases: dict[tuple[object, ...], Case] = field(default_factory=dict)

    def progress(self, *, done: bool = False) -> pb.PreviewPolicyResponse:
        """What was found since it was asked last."""
        changes, self.changes = self.changes, []
        return pb.PreviewPolicyResponse(
            changes=changes,
            decided=self.decided,
            changed=self.changed,
            undecidable=self.undecidable,
            done=done,
        )


class Previews:
    """Runs previews over the log, a few at a time. Memory is bounded by what one page and the kept states take."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        # Apart from that of the running workflows, whose payloads a long look back must not push out.
        self._payloads = PayloadCache(store, _PAYLOAD_BYTES)
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def run(self, preview: Preview) -> AsyncGenerator[pb.PreviewPolicyResponse, None]:
        """Decide what was recorded since the preview's time until now, and tell how far that is."""
        async with self._places:
            head = self._store.head
            position = await self._position_before(preview.since_us, head)
            while position < head:
                page = await self._store.read_all(position, limit=_PAGE, tenant=preview.tenant)
                if not page:
                    break
                position = page[-1].position
                await self._look_at([each for each in page if each.position <= head], preview)
                yield preview.progress()
        yield preview.progress(done=True)

    async def _position_before(self, since_us: int, head: int) -> int:
        """The position of the last event before a time. Recorded times never decrease."""
        low, high = 0, head
        while low < high:
            middle = (low + high) // 2
            [event] = await self._store.read_all(middle, limit=1)
            if event.recorded_at_us < since_us:
                low = middle + 1
            else:
                high = middle
        return low

    async def _look_at(self, page: list[RecordedEvent], preview: Preview) -> None:
        checks: defaultdict[str, list[RecordedEvent]] = defaultdict(list)
        for recorded in page:
            if recorded.type == _CHECKED:
                checks[recorded.stream_id].append(recorded)
        for stream_id, recorded_checks in checks.items():
            for recorded in recorded_checks:
                event = decode_record(recorded.record)
                try:
                    state = await self._state_before(preview, stream_id, recorded.stream_version)
                    decision = await self._decide(preview, state, event)
                except (_UndecidableError, KeyError, IndexError, ValueError, StoreError, UnknownEventTypeError):
                    preview.undecidable += 1
                else:
                    _count(preview, event, decision)
                # The loop belongs to running workflows.
                await asyncio.sleep(0)

    async def _state_before(self, preview: Preview, stream_id: str, version: int) -> Workflow:
        """The workflow just before a version of its stream."""
        folded = preview.states.pop(stream_id, None)
        if folded is None or folded.version >= version:
            folded = _Folded()
        while folded.version < version - 1:
            count = min(version - 1 - folded.version, _FOLDED_AT_ONCE)
            for recorded in await self._store.read_stream(preview.tenant, stream_id, folded.version, limit=count):
                payload = known_payload(decode_record(recorded.record))
                if payload is not None:
                    evolve(folded.state, payload)
                folded.version = recorded.stream_version
            # What only says what an engine has to look at is of no use here.
            folded.state.changed.clear()
        preview.states[stream_id] = folded
        while len(preview.states) > 1 and sum(each.version for each in preview.states.values()) > _FOLDED_EVENTS:
            preview.states.popitem(last=False)
        return folded.state

    async def _decide(self, preview: Preview, state: Workflow, event: events_pb2.Event) -> PermissionDecision:
        check = event.permission_checked
        step = state.steps[check.step_id]
        authority = state.authorities[step.plan.authority]
        scopes = tuple(authority.scopes) if authority.limited else None
        question = (tuple(authority.roles), scopes, tuple(check.required), check.tool)
        case = preview.cases.get(question)
        if case is None:
            if len(preview.cases) >= _CASES:
                preview.cases.clear()
            case = case_of(preview.policy, authority, check.required, check.tool, is_call=True)
            preview.cases[question] = case
        facts = facts_of(authority, case.needs, tool=check.tool, now_us=event.recorded_at_us)
        if "arguments" in case.needs:
            facts["arguments"] = orjson.loads(await self._arguments(preview.tenant, state, step))
        return case.decide(facts)

    async def _arguments(self, tenant: str, state: Workflow, step: Step) -> str:
        """A step's arguments as JSON text. Raises _UndecidableError, and ValueError for what is sealed."""
        for _ in range(_PAYLOADS_A_CALL):
            try:
                return arguments_text(state, step, self._payloads.of(tenant))
            except PayloadNotLoadedError as missing:
                await self._payloads.fetch(tenant, missing.reference.digest)
        raise _UndecidableError


def _count(preview: Preview, event: events_pb2.Event, decision: PermissionDecision) -> None:
    check = event.permission_checked
    preview.decided += 1
    after = events_pb2.DECISION_ALLOW if decision.allowed else events_pb2.DECISION_DENY
    if after == check.decision:
        return
    preview.changed += 1
    if preview.changed > preview.max_changes:
        return
    preview.changes.append(
        pb.ChangedDecision(
            event=f"{SHARD}:{event.position}",
            recorded_at_us=event.recorded_at_us,
            workflow_id=event.stream_id,
            step_id=check.step_id,
            tool=check.tool,
            principal=check.principal,
            before=check.decision,
            rule_before=check.rule,
            after=after,
            rule_after=decision.rule,
            missing_after=decision.missing,
        )
    )
