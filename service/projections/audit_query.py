"""Reads the audit trail: in pages, and whole as JSON Lines.

The lines are made of the log's events as they are read. Both walk the log by position, a few hundred events at a time,
and stop at a fixed place or at a full page, so that neither keeps more in memory however long the trail is. They see no
further than the projection has come, so that what is behind an event that stops it is not shown.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection

from podium.v1 import events_pb2
from podium.v1.audit_service_pb2 import AuditEntry, AuditFilter
from podium.v1.value_pb2 import Principal
from service.projections.audit import BLOCK_BITS, AuditTrail, Condition, conditions
from service.projections.audit_lines import line_of
from service.projections.audit_steps import StepTools
from service.projections.audit_words import Line
from service.projections.paging import Page, Paging
from service.projections.read_model import ReadModel
from store.contract import SHARD, EventReader, RecordedEvent
from store.records import TYPE_NAMES, TYPE_NUMBERS, decode_record

READ_EVENTS = 256
"""How many events are read at a time at most, and how many lines the export yields."""
READ_BLOCKS = 64
"""How many blocks are looked up at a time."""
STREAMS_KEPT = 1000
"""Of how many streams a walk remembers the tools."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECISIONS = {events_pb2.DECISION_ALLOW: "allow", events_pb2.DECISION_DENY: "deny"}
_PRINCIPAL_FIELDS = tuple(field.name for field in Principal.DESCRIPTOR.fields)

Made = TypeVar("Made")
Make = Callable[[events_pb2.Event, Line, str], Made]
"""Makes something of an event, its line and its tool."""


class AuditFilterError(ValueError):
    """The filter names what there is not. `field` is the field at fault."""

    field = "filter.types"


class AuditQuery:
    """Answers from the log, where the projection `AuditTrail` says that there is something to be found."""

    def __init__(self, model: ReadModel[AuditTrail], log: EventReader) -> None:
        self._model = model
        self._log = log

    async def page(
        self, tenant: str, audit_filter: AuditFilter, *, page_size: int = 0, page_token: str = ""
    ) -> Page[AuditEntry]:
        """Read a page of a tenant's trail, in the order of the log. Pages stay in step while the trail grows.

        Raises:
            PageTokenError: The token is not from a page with this filter.
            PageSizeError: The size is out of bounds.
            AuditFilterError: The filter names a type that does not exist.
        """
        asked = _canonical(audit_filter).SerializeToString(deterministic=True)
        paging = Paging.of("audit", tenant, asked, page_size=page_size, page_token=page_token)
        walk = _Walk(
            self._model, self._log, tenant, audit_filter, paging.after or 0, min(paging.limit + 1, READ_EVENTS)
        )
        entries: list[AuditEntry] = []
        positions: list[int] = []
        async with aclosing(walk.lines(lambda *line: (line[0].position, _entry(*line)))) as found:
            async for block in found:
                positions += [position for position, _ in block]
                entries += [entry for _, entry in block]
                if len(entries) > paging.limit:
                    break
        return paging.page(entries, positions)

    async def export(self, tenant: str, audit_filter: AuditFilter) -> AsyncIterator[bytes]:
        """Yield the trail as JSON Lines, some whole lines at a time, up to where it was when the export began.

        Raises:
            AuditFilterError: The filter names a type that does not exist.
        """
        walk = _Walk(self._model, self._log, tenant, audit_filter, 0, READ_EVENTS)
        async with aclosing(walk.lines(_json_line)) as found:
            async for block in found:
                yield b"".join(block)


class _Walk:
    """One way through the log: from after a position up to where the projection is as it begins."""

    def __init__(
        self,
        model: ReadModel[AuditTrail],
        log: EventReader,
        tenant: str,
        wanted: AuditFilter,
        after: int,
        read_events: int,
    ) -> None:
        """`read_events`: how many are read at a time where no index is used. Raises AuditFilterError."""
        self._model = model
        self._log = log
        self._tenant = tenant
        self._wanted = wanted
        self._types = _type_numbers(wanted)
        self._after = after
        self._read_events = read_events
        self._end = model.served.position
        self._steps: dict[str, StepTools] = {}
        """The steps of streams that were met, and their tools."""

    async def lines(self, make: Make[Made]) -> AsyncGenerator[list[Made], None]:
        """Yield what is made of the lines that the filter means, in order, those of some events at a time."""
        await self._keep_to_the_time()
        conditions_met = conditions(
            subject=self._wanted.subject, tool=self._wanted.tool, types=self._types, decision=self._wanted.decision
        )
        if self._wanted.stream_id:
            events = self._of_stream()
        elif conditions_met:
            events = self._of_blocks(conditions_met)
        else:
            events = self._of_tenant()
        async with aclosing(events):
            async for some in events:
                if found := await self._model.read(partial(self._made, some, make)):
                    yield found

    async def _keep_to_the_time(self) -> None:
        """Narrow the walk to the times that are wanted. In the log they never decrease."""

        async def is_at(position: int, time_us: int) -> bool:
            found = await self._log.read_all(position - 1, 1)
            return not found or found[0].recorded_at_us >= time_us

        wanted, beyond = self._wanted, self._end + 1
        if wanted.until_us:
            beyond = await _first(self._after + 1, beyond, lambda position: is_at(position, wanted.until_us))
        if wanted.from_us:
            first = await _first(self._after + 1, beyond, lambda position: is_at(position, wanted.from_us))
            self._after = first - 1
        self._end = beyond - 1

    async def _of_tenant(self) -> AsyncGenerator[list[RecordedEvent], None]:
        after = self._after
        while after < self._end and (events := await self._log.read_all(after, self._read_events, self._tenant)):
            after = events[-1].position
            yield events

    async def _of_stream(self) -> AsyncGenerator[list[RecordedEvent], None]:
        async def is_after(version: int) -> bool:
            found = await self._read_stream(version - 1, 1)
            return not found or found[0].position > self._after

        reached, version = self._after, await _first(1, self._after + 1, is_after) - 1
        while reached < self._end and (events := await self._read_stream(version, self._read_events)):
            reached, version = events[-1].position, events[-1].stream_version
            yield events

    async def _read_stream(self, after_version: int, limit: int) -> list[RecordedEvent]:
        return await self._log.read_stream(self._tenant, self._wanted.stream_id, after_version, limit)

    async def _of_blocks(self, wanted: Sequence[Condition]) -> AsyncGenerator[list[RecordedEvent], None]:
        first, last = self._after + 1 >> BLOCK_BITS, self._end >> BLOCK_BITS

        def blocks_from(first: int, connection: Connection, trail: AuditTrail) -> list[int]:
            return trail.blocks(connection, self._tenant, wanted, first, last, READ_BLOCKS)

        while blocks := await self._model.read(partial(blocks_from, first)):
            for block in blocks:
                after, beyond = max(self._after, (block << BLOCK_BITS) - 1), block + 1 << BLOCK_BITS
                events = await self._log.read_all(after, beyond - 1 - after)
                yield [event for event in events if event.tenant == self._tenant]
            first = blocks[-1] + 1

    def _made(
        self, events: Sequence[RecordedEvent], make: Make[Made], connection: Connection, trail: AuditTrail
    ) -> list[Made]:
        """What is made of those of the events that are wanted. Called away from the loop where the database allows."""
        wanted = [e for e in events if e.position <= self._end and (not self._types or e.type in self._types)]
        decoded = [decode_record(recorded.record) for recorded in wanted]
        found = [(event, line) for event in decoded if self._is_wanted(event, line := line_of(event))]
        without_tool = {event.stream_id for event, line in found if line.step_id and not line.tool}
        if unknown := without_tool - self._steps.keys():
            if len(self._steps) + len(unknown) > STREAMS_KEPT:
                self._steps = {stream_id: self._steps[stream_id] for stream_id in without_tool - unknown}
            self._steps |= trail.steps_of(connection, self._tenant, unknown)
        told = [(event, line, line.tool or self._tool_of(event, line.step_id)) for event, line in found]
        return [make(*line) for line in told if line[2] == self._wanted.tool or not self._wanted.tool]

    def _is_wanted(self, event: events_pb2.Event, line: Line) -> bool:
        subject, decision = self._wanted.subject, self._wanted.decision
        return (not decision or line.decision == decision) and (
            not subject or event.principal.subject == subject or _principal(event, line).subject == subject
        )

    def _tool_of(self, event: events_pb2.Event, step_id: str) -> str:
        return self._steps[event.stream_id].at(step_id, event.position) if step_id else ""


async def _first(low: int, high: int, holds: Callable[[int], Awaitable[bool]]) -> int:
    """The first number from `low` on for which something holds that holds for all after it; `high`: none before it."""
    while low < high:
        middle = (low + high) // 2
        if await holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _canonical(audit_filter: AuditFilter) -> AuditFilter:
    canonical = AuditFilter()
    canonical.CopyFrom(audit_filter)
    canonical.types[:] = sorted(set(audit_filter.types))
    return canonical


def _type_numbers(wanted: AuditFilter) -> list[int]:
    if unknown := sorted(set(wanted.types) - TYPE_NUMBERS.keys()):
        raise AuditFilterError(f"there is no type of event named {', '.join(unknown)}")
    return sorted({TYPE_NUMBERS[name] for name in wanted.types})


def _type_name(number: int) -> str:
    return TYPE_NAMES.get(number, f"unknown_{number}")


def _principal(event: events_pb2.Event, line: Line) -> Principal:
    """Whose authority was checked, or else who caused the event."""
    return line.authority or event.principal


def _entry(event: events_pb2.Event, line: Line, tool: str) -> AuditEntry:
    principal = _principal(event, line)
    return AuditEntry(
        event=f"{SHARD}:{event.position}",
        tenant_sequence=event.tenant_sequence,
        recorded_at_us=event.recorded_at_us,
        stream_id=event.stream_id,
        type=_type_name(event.type),
        step_id=line.step_id,
        tool=tool,
        principal=principal if principal.ByteSize() else None,
        decision=line.decision,
        rule=line.rule,
        policy=line.policy,
        summary=line.summary,
    )


def _json_line(event: events_pb2.Event, line: Line, tool: str) -> bytes:
    """One line of the export. Every line has every field; null says that there is none."""
    principal = _principal(event, line)
    told: dict[str, Any] = {
        "event": f"{SHARD}:{event.position}",
        "tenant_sequence": event.tenant_sequence,
        "recorded_at": _iso(event.recorded_at_us),
        "stream_id": event.stream_id,
        "type": _type_name(event.type),
        "step_id": line.step_id or None,
        "tool": tool or None,
        "principal": {name: getattr(principal, name) or None for name in _PRINCIPAL_FIELDS}
        if principal.ByteSize()
        else None,
        "decision": _DECISIONS.get(line.decision),
        "rule": line.rule or None,
        "policy": line.policy or None,
        "summary": line.summary,
        "details": line.details,
    }
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


def _iso(time_us: int) -> str:
    time = _EPOCH + timedelta(microseconds=time_us)
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"
