"""The audit trail: one line for every event of the log, with what is searched lifted into columns.

Invariant: a tenant's lines have all its sequence numbers, from 1 and without gaps; also an event that this version
does not know has its line. What a line needs beyond its event (the tool of a step) is in a table here, never in
memory, so that a restart changes no line.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql

from podium.v1 import events_pb2
from service.projections.audit_lines import line_of
from service.projections.database import ManyRows, storable
from store.contract import RecordedEvent
from store.records import TYPE_NUMBERS, decode_record

_OF_STEP = ("of_tenant", "of_stream", "of_step")
_STEPS_ADDED = TYPE_NUMBERS["steps_added"]


class AuditTrail:
    """The projection that writes the trail."""

    name = "audit"
    schema_version = 1

    def __init__(self, generation: int) -> None:
        self.metadata = MetaData()
        prefix = f"{self.name}_{generation}"
        self.lines = _lines_table(prefix, self.metadata)
        self.steps = _steps_table(prefix, self.metadata)
        self._add_lines = _add_lines(self.lines, self.steps)
        # A step is defined once. Should a log hold it twice, the first one counts, as it does in the workflow.
        # Both databases say this in the same words.
        once = postgresql.insert(self.steps).on_conflict_do_nothing()
        self._add_steps = ManyRows(once, self.steps.columns.keys())

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Add the lines of the events."""
        lines: list[dict[str, object]] = []
        steps: list[dict[str, object]] = []
        for recorded in events:
            event = decode_record(recorded.record)
            lines.append(_line_row(event))
            if event.type == _STEPS_ADDED:
                steps.extend(_step_rows(event))
        # The steps go first: a step's other events may be in the same batch, and none comes before it is added.
        self._add_steps.execute(connection, steps)
        self._add_lines.execute(connection, lines)


def walks_all(lines: Table) -> ColumnElement[bool]:
    """True of every line. SQLite uses the index by tenant only for a query that says so in these words.

    Otherwise it would prefer that index, and walk all the lines of a tenant, where another is much narrower.
    """
    return lines.c.position > literal_column("-1")


def _lines_table(name: str, metadata: MetaData) -> Table:
    lines = Table(
        name,
        metadata,
        Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
        Column("tenant", Text, nullable=False),
        Column("tenant_sequence", BigInteger, nullable=False),
        Column("recorded_at_us", BigInteger, nullable=False),
        Column("stream_id", Text, nullable=False),
        Column("type", Integer, nullable=False),
        Column("step_id", Text),
        Column("tool", Text),
        # The subject of `principal`.
        Column("subject", Text),
        # The subject that caused a check of another's authority; otherwise NULL, so that no row is found twice.
        Column("caller", Text),
        Column("decision", Integer),
        Column("rule", Text),
        Column("policy", Text),
        Column("principal", LargeBinary),
        Column("summary", Text, nullable=False),
        Column("details", Text),
        Index(f"{name}_by_time", "tenant", "recorded_at_us", "position"),
        Index(f"{name}_by_stream", "tenant", "stream_id", "position"),
        Index(f"{name}_by_type", "tenant", "type", "position"),
    )
    Index(f"{name}_by_tenant", lines.c.tenant, lines.c.position, sqlite_where=walks_all(lines))
    for column in (lines.c.subject, lines.c.caller, lines.c.tool, lines.c.decision):
        given = column.is_not(None)
        found_by = (lines.c.tenant, column, lines.c.position)
        Index(f"{name}_by_{column.name}", *found_by, sqlite_where=given, postgresql_where=given)
    return lines


def _steps_table(prefix: str, metadata: MetaData) -> Table:
    return Table(
        f"{prefix}_steps",
        metadata,
        Column("tenant", Text, primary_key=True),
        Column("stream_id", Text, primary_key=True),
        Column("step_id", Text, primary_key=True),
        Column("tool", Text, nullable=False),
        sqlite_with_rowid=False,
    )


def _add_lines(lines: Table, steps: Table) -> ManyRows:
    tool_of_step = (
        select(steps.c.tool)
        .where(
            steps.c.tenant == bindparam("of_tenant"),
            steps.c.stream_id == bindparam("of_stream"),
            steps.c.step_id == bindparam("of_step"),
        )
        .scalar_subquery()
    )
    return ManyRows(
        insert(lines).values(tool=func.coalesce(bindparam("own_tool"), tool_of_step)),
        [*(column.name for column in lines.columns if column is not lines.c.tool), "own_tool", *_OF_STEP],
    )


def _step_rows(event: events_pb2.Event) -> list[dict[str, object]]:
    return [
        {"tenant": event.tenant, "stream_id": event.stream_id, "step_id": step.id, "tool": step.tool}
        for step in event.steps_added.steps
    ]


def _line_row(event: events_pb2.Event) -> dict[str, object]:
    line = line_of(event)
    principal = line.authority or event.principal
    caller = event.principal.subject
    return {
        "position": event.position,
        "tenant": event.tenant,
        "tenant_sequence": event.tenant_sequence,
        "recorded_at_us": event.recorded_at_us,
        "stream_id": event.stream_id,
        "type": event.type,
        "step_id": line.step_id or None,
        "own_tool": line.tool or None,
        "of_tenant": event.tenant,
        "of_stream": event.stream_id,
        # The items of a for_each step, named step[index], have its tool.
        "of_step": line.step_id.partition("[")[0],
        "subject": storable(principal.subject) or None,
        "caller": storable(caller) if caller and caller != principal.subject else None,
        "decision": line.decision or None,
        "rule": line.rule or None,
        "policy": line.policy or None,
        "principal": principal.SerializeToString() or None,
        "summary": line.summary,
        "details": None if line.details is None else orjson.dumps(line.details).decode(),
    }
