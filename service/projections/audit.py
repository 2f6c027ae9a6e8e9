"""The audit trail's index: where in the log to look for what an auditor asks for.

The log is the trail. Each event is one line of it (see audit_lines), which is made when it is read; nothing of it is
kept twice. Kept here is which blocks of the log hold lines of a tenant with a type, a subject, a tool or a decision,
and the tools of steps, which their later events do not name.

Invariant: every line that has a mark lies in a block with that mark. A block may have a mark that none of its lines
has, so whoever looks there compares each line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Select,
    SmallInteger,
    Table,
    Text,
    exists,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql

from podium.v1 import events_pb2
from podium.v1.value_pb2 import Principal
from service.projections.audit_steps import TELLING, StepTools, told_by
from service.projections.database import PreparedStatement, storable
from service.projections.paging import first_of
from store.contract import RecordedEvent
from store.records import TYPE_NUMBERS, decode_record, principal_bytes

BLOCK_BITS = 7
BLOCK_EVENTS = 1 << BLOCK_BITS
"""A block is this many positions: the position divided by it is the block's number. Fewer would be more marks to write,
more would be more lines to look at for one that is asked for."""
STREAMS_KEPT = 10_000
"""Of how many streams the tools are kept in memory, so that a batch need not read them."""

TYPE, SUBJECT, TOOL, DECISION = range(1, 5)
"""What a mark is about. Its value is the type's number, a name, a name, and the decision's number."""

_Named = tuple[str, int, str]
"""tool, decision, subject; of each there may be none."""
_Mark = tuple[str, int, str, int]
"""tenant, about, value, block."""
_Stream = tuple[str, str]
"""tenant, stream_id."""
_STREAM: Callable[[RecordedEvent], _Stream] = attrgetter("tenant", "stream_id")
_TENANT_AND_TYPE: Callable[[RecordedEvent], tuple[str, int]] = attrgetter("tenant", "type")


class Condition(NamedTuple):
    """A line must have one of these marks."""

    about: int
    values: Sequence[str]


class AuditTrail:
    """The projection that keeps the index."""

    name = "audit"
    schema_version = 3

    def __init__(self, generation: int) -> None:
        self.metadata = MetaData()
        prefix = f"{self.name}_{generation}"
        self.marks = _marks_table(prefix, self.metadata)
        self.steps = _steps_table(prefix, self.metadata)
        # Both databases say this in the same words.
        once = postgresql.insert(self.marks).on_conflict_do_nothing()
        self._add_marks = PreparedStatement(once, self.marks.columns.keys())
        self._add_steps = PreparedStatement(insert(self.steps), self.steps.columns.keys())
        self._tools: dict[_Stream, set[str]] = {}
        """The tools of streams, oldest first: a part of what is in the table of steps."""

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Mark the blocks that the events are in."""
        self._learn(connection, events)
        marks: set[_Mark] = set()
        for block, part in _by_block(events):
            self._mark(marks, block, part)
        self._forget()
        # In order, so that two that write do not wait for each other, and neighbours in the index come together.
        self._add_marks.execute_many(
            connection,
            [
                {"tenant": tenant, "about": about, "value": storable(value), "block": block}
                for tenant, about, value, block in sorted(marks)
                if value
            ],
        )

    def blocks(
        self, connection: Connection, tenant: str, conditions: Sequence[Condition], first: int, last: int, limit: int
    ) -> list[int]:
        """The first blocks from `first` to `last` that may hold a line of a tenant that meets all conditions.

        There is at least one condition; fewest lines should meet the one that leads.
        """
        query = self.blocks_query(tenant, conditions, first, last, limit)
        return sorted(set(connection.execute(query).scalars()))

    def blocks_query(
        self, tenant: str, conditions: Sequence[Condition], first: int, last: int, limit: int
    ) -> Select[Any]:
        """See `blocks`. A block may come more than once."""
        marks, others = self.marks, self.marks.alias()
        (about, values), *rest = conditions
        query = select(marks.c.block).where(
            marks.c.tenant == tenant, marks.c.about == about, marks.c.block >= first, marks.c.block <= last
        )
        for other, other_values in rest:
            query = query.where(
                exists().where(
                    others.c.tenant == tenant,
                    others.c.about == other,
                    others.c.value.in_(other_values),
                    others.c.block == marks.c.block,
                )
            )
        return first_of([query.where(marks.c.value == value) for value in values], "block", limit)

    def steps_of(self, connection: Connection, tenant: str, stream_ids: Collection[str]) -> dict[str, StepTools]:
        """The tools of streams' steps."""
        found = {stream_id: StepTools() for stream_id in stream_ids}
        steps = self.steps
        query = select(steps.c.stream_id, steps.c.position, steps.c.tools).where(
            steps.c.tenant == tenant, steps.c.stream_id.in_(sorted(stream_ids))
        )
        for stream_id, position, told in connection.execute(query.order_by(steps.c.stream_id, steps.c.position.desc())):
            found[stream_id].take(position, told)
        return found

    def _mark(self, marks: set[_Mark], block: int, events: Sequence[RecordedEvent]) -> None:
        """Add the marks of a block for events in it. All that they have in common is looked at once."""
        for tenant, number in set(map(_TENANT_AND_TYPE, events)):
            marks.add((tenant, TYPE, str(number), block))
        for tenant, stream_id in set(map(_STREAM, events)):
            # Which step an event is about is not looked at: all tools of its stream may be meant.
            marks.update((tenant, TOOL, tool, block) for tool in self._tools[tenant, stream_id])
        for tenant, principal in {(event.tenant, principal_bytes(event.record)) for event in events}:
            marks.add((tenant, SUBJECT, Principal.FromString(principal).subject, block))
        named = {(event.tenant, _NAMED[event.type](event.record)) for event in events if event.type in _NAMED}
        for tenant, (tool, decision, subject) in named:
            marks |= {(tenant, TOOL, tool, block), (tenant, SUBJECT, subject, block)}
            marks.add((tenant, DECISION, str(decision or ""), block))

    def _learn(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Write down the tools of steps that were added, and know those of all streams that the events are in."""
        additions = [(event, told_by(event)) for event in events if event.type in TELLING]
        self._add_steps.execute_many(
            connection,
            [
                {"tenant": e.tenant, "stream_id": e.stream_id, "position": e.position, "tools": told}
                for e, told in additions
            ],
        )
        self._tools.update(((event.tenant, event.stream_id), set()) for event in events if event.stream_version == 1)
        unknown: dict[str, set[str]] = {}
        for tenant, stream_id in set(map(_STREAM, events)):
            if (tenant, stream_id) not in self._tools:
                unknown.setdefault(tenant, set()).add(stream_id)
        for tenant, stream_ids in unknown.items():
            for stream_id, steps in self.steps_of(connection, tenant, stream_ids).items():
                self._tools[tenant, stream_id] = steps.names
        for event, told in additions:
            added = StepTools()
            added.take(event.position, told)
            self._tools[event.tenant, event.stream_id] |= added.names

    def _forget(self) -> None:
        while len(self._tools) > STREAMS_KEPT:
            del self._tools[next(iter(self._tools))]


def conditions(
    *, subject: str = "", tool: str = "", types: Sequence[int] = (), decision: int = events_pb2.DECISION_UNSPECIFIED
) -> list[Condition]:
    """What a line must be, where it is given. The condition that fewest lines meet leads."""
    denials = decision == events_pb2.DECISION_DENY
    found = [
        Condition(DECISION, [str(decision)] if denials else []),
        Condition(SUBJECT, [storable(subject)] if subject else []),
        Condition(TOOL, [storable(tool)] if tool else []),
        Condition(TYPE, [str(number) for number in types]),
        Condition(DECISION, [str(decision)] if decision and not denials else []),
    ]
    return [condition for condition in found if condition.values]


def _marks_table(prefix: str, metadata: MetaData) -> Table:
    return Table(
        f"{prefix}_marks",
        metadata,
        Column("tenant", Text, primary_key=True),
        Column("about", SmallInteger, primary_key=True, autoincrement=False),
        Column("value", Text, primary_key=True),
        Column("block", BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )


def _steps_table(prefix: str, metadata: MetaData) -> Table:
    return Table(
        f"{prefix}_steps",
        metadata,
        Column("tenant", Text, primary_key=True),
        Column("stream_id", Text, primary_key=True),
        # Of the event that said so.
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        # JSON; see service.projections.audit_steps.
        Column("tools", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


def _by_block(events: Sequence[RecordedEvent]) -> Iterator[tuple[int, Sequence[RecordedEvent]]]:
    """Events whose positions follow each other, by their blocks."""
    start = 0
    while start < len(events):
        block, place = divmod(events[start].position, BLOCK_EVENTS)
        part = events[start : start + BLOCK_EVENTS - place]
        start += len(part)
        yield block, part


_TELL_THEIR_TOOL = (
    "breaker_transitioned",
    "fallback_tried",
    "cache_hit",
    "cache_invalidated",
    "tool_health_changed",
)


def _permission_checked(record: bytes) -> _Named:
    checked = decode_record(record).permission_checked
    return checked.tool, checked.decision, checked.principal.subject


def _step_denied(_record: bytes) -> _Named:
    return "", events_pb2.DECISION_DENY, ""


def _request_denied(record: bytes) -> _Named:
    return "", events_pb2.DECISION_DENY, decode_record(record).request_denied.principal.subject


def _submission_refused(record: bytes) -> _Named:
    return "", events_pb2.DECISION_UNSPECIFIED, decode_record(record).submission_refused.principal.subject


def _tool_in(name: str) -> Callable[[bytes], _Named]:
    def named(record: bytes) -> _Named:
        return getattr(decode_record(record), name).tool, events_pb2.DECISION_UNSPECIFIED, ""

    return named


def _tool_registered(record: bytes) -> _Named:
    return decode_record(record).tool_registered.definition.name, events_pb2.DECISION_UNSPECIFIED, ""


# What the lines of these types are found by, beside what their envelopes and their streams' steps say. A test compares
# it with the lines.
_NAMED: dict[int, Callable[[bytes], _Named]] = {
    TYPE_NUMBERS["permission_checked"]: _permission_checked,
    TYPE_NUMBERS["step_denied"]: _step_denied,
    TYPE_NUMBERS["tool_registered"]: _tool_registered,
    **{TYPE_NUMBERS[name]: _tool_in(name) for name in _TELL_THEIR_TOOL},
    TYPE_NUMBERS["request_denied"]: _request_denied,
    TYPE_NUMBERS["submission_refused"]: _submission_refused,
}
