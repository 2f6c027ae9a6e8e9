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
from sqlalchemy.dialects import sqlite

from podium.v1 import events_pb2
from service.projections.audit_lines import line_of
from service.projections.database import ManyRows
from store.contract import RecordedEvent
from store.records import TYPE_NUMBERS, decode_record

METADATA = MetaData()

AUDIT = Table(
    "audit",
    METADATA,
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
    Index("audit_by_time", "tenant", "recorded_at_us", "position"),
    Index("audit_by_stream", "tenant", "stream_id", "position"),
    Index("audit_by_type", "tenant", "type", "position"),
)

WALKS_ALL = AUDIT.c.position > literal_column("-1")
"""True of every line. SQLite uses the index by tenant only for a query that says so in these words.

Otherwise it would prefer that index, and walk all the lines of a tenant, where another is much narrower.
"""
Index("audit_by_tenant", AUDIT.c.tenant, AUDIT.c.position, sqlite_where=WALKS_ALL)
for _column in (AUDIT.c.subject, AUDIT.c.caller, AUDIT.c.tool, AUDIT.c.decision):
    _given = _column.is_not(None)
    Index(f"audit_by_{_column.name}", AUDIT.c.tenant, _column, AUDIT.c.position, sqlite_where=_given)

STEPS = Table(
    "audit_steps",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("stream_id", Text, primary_key=True),
    Column("step_id", Text, primary_key=True),
    Column("tool", Text, nullable=False),
    sqlite_with_rowid=False,
)

_TOOL_OF_STEP = (
    select(STEPS.c.tool)
    .where(
        STEPS.c.tenant == bindparam("of_tenant"),
        STEPS.c.stream_id == bindparam("of_stream"),
        STEPS.c.step_id == bindparam("of_step"),
    )
    .scalar_subquery()
)
_OF_STEP = ("of_tenant", "of_stream", "of_step")
_ADD_LINES = ManyRows(
    insert(AUDIT).values(tool=func.coalesce(bindparam("own_tool"), _TOOL_OF_STEP)),
    [*(column.name for column in AUDIT.columns if column is not AUDIT.c.tool), "own_tool", *_OF_STEP],
)
# A step is defined once. Should a log hold it twice, the first one counts, as it does in the workflow.
_ADD_STEPS = ManyRows(sqlite.insert(STEPS).on_conflict_do_nothing(), STEPS.columns.keys())
_STEPS_ADDED = TYPE_NUMBERS["steps_added"]


class AuditTrail:
    """The projection that writes the trail."""

    name = "audit"
    schema_version = 1
    metadata = METADATA

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
        _ADD_STEPS.execute(connection, steps)
        _ADD_LINES.execute(connection, lines)


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
        "subject": principal.subject or None,
        "caller": caller if caller and caller != principal.subject else None,
        "decision": line.decision or None,
        "rule": line.rule or None,
        "policy": line.policy or None,
        "principal": principal.SerializeToString() or None,
        "summary": line.summary,
        "details": None if line.details is None else orjson.dumps(line.details).decode(),
    }
