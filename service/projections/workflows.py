"""The list of workflows: a row for each, changed once a batch by what the batch adds up to.

The list counts steps by how they ended. Those that have not ended are counted together, because what they are doing
changes with almost every event; the live state of a workflow tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    insert,
    update,
)

from podium.v1 import events_pb2, value_pb2
from service.projections.database import PreparedStatement, storable
from store.contract import RecordedEvent
from store.records import TYPE_NUMBERS, decode_record

COUNTED = {
    "succeeded": value_pb2.STEP_STATE_SUCCEEDED,
    "failed": value_pb2.STEP_STATE_FAILED,
    "denied": value_pb2.STEP_STATE_DENIED,
    "skipped": value_pb2.STEP_STATE_SKIPPED,
    "canceled": value_pb2.STEP_STATE_CANCELED,
}
"""The columns that count the steps that ended, and the state that each counts."""

_TURNS = {
    TYPE_NUMBERS["workflow_cancel_requested"]: value_pb2.WORKFLOW_STATE_CANCELING,
    TYPE_NUMBERS["workflow_succeeded"]: value_pb2.WORKFLOW_STATE_SUCCEEDED,
    TYPE_NUMBERS["workflow_failed"]: value_pb2.WORKFLOW_STATE_FAILED,
    TYPE_NUMBERS["workflow_canceled"]: value_pb2.WORKFLOW_STATE_CANCELED,
}
_COUNTS = ("steps", "degraded", *COUNTED)
"""The columns that count steps; `degraded` is in `succeeded` too."""
_ENDINGS = {TYPE_NUMBERS[f"step_{name}"]: name for name in COUNTED}


@dataclass(slots=True)
class _Change:
    """What a batch changes in one workflow."""

    stream_version: int
    started: dict[str, object] | None = None
    """Its row as it starts, if it does so in the batch."""
    more: dict[str, int] = field(default_factory=dict)
    state: int = 0
    """The state it is in after the batch; 0: the one it was in before."""
    ended_at_us: int = 0
    failure: bytes | None = None
    closed: bool = False

    def count(self, what: str, number: int = 1) -> None:
        self.more[what] = self.more.get(what, 0) + number


class WorkflowList:
    """The projection that keeps the list."""

    name = "workflows"
    schema_version = 2

    def __init__(self, generation: int) -> None:
        self.metadata = MetaData()
        self.workflows = rows = _table(f"{self.name}_{generation}", self.metadata)
        this = (rows.c.tenant == bindparam("of_tenant"), rows.c.workflow_id == bindparam("of_workflow"))
        counted: dict[str, ColumnElement[Any]] = {name: rows.c[name] + bindparam(f"more_{name}") for name in _COUNTS}
        turned: dict[str, ColumnElement[Any]] = {
            name: bindparam(f"now_{name}") for name in ("state", "ended_at_us", "failure", "open")
        }
        self._add = PreparedStatement(insert(rows), rows.columns.keys())
        self._count = PreparedStatement(
            update(rows).where(*this).values(counted | {"stream_version": bindparam("now_version")})
        )
        # Apart from the counts, because it moves the row in the index by state.
        self._turn = PreparedStatement(update(rows).where(*this).values(turned))
        self._close = PreparedStatement(update(rows).where(*this).values(open=bindparam("now_open")))

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Change each workflow that the events are about, or add it as it is after them."""
        versions = {(tenant, stream_id): version for _, tenant, stream_id, version, _, _, _ in events}
        changes = {stream: _Change(version) for stream, version in versions.items()}
        for event in events:
            if fold := _FOLDS.get(event.type):
                fold(changes[event.tenant, event.stream_id], event)
        self._add.execute_many(connection, [_new_row(started, c) for c in changes.values() if (started := c.started)])
        # A stream that is no workflow (a tool's) has no row, and its change falls on none.
        known = [(stream, change) for stream, change in changes.items() if change.started is None]
        self._count.execute_many(connection, [_count_row(*stream, change) for stream, change in known])
        self._close.execute_many(connection, [_close_row(*stream) for stream, change in known if change.closed])
        self._turn.execute_many(connection, [_turn_row(*stream, change) for stream, change in known if change.state])


def _table(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        # Of the event that started it: the order of the list.
        Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
        Column("tenant", Text, nullable=False),
        Column("workflow_id", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("kind", Integer, nullable=False),
        Column("state", Integer, nullable=False),
        Column("open", Boolean, nullable=False),
        Column("started_at_us", BigInteger, nullable=False),
        Column("ended_at_us", BigInteger, nullable=False),
        Column("stream_version", BigInteger, nullable=False),
        Column("principal", LargeBinary, nullable=False),
        Column("failure", LargeBinary),
        *(Column(counted, Integer, nullable=False) for counted in _COUNTS),
        Index(f"{name}_by_id", "tenant", "workflow_id", unique=True),
        Index(f"{name}_by_start", "tenant", "position"),
        Index(f"{name}_by_state", "tenant", "state", "position"),
        Index(f"{name}_by_name", "tenant", "name", "state", "position"),
    )


def _started(change: _Change, recorded: RecordedEvent) -> None:
    event = decode_record(recorded.record)
    started = event.workflow_started
    change.started = {
        "position": recorded.position,
        "tenant": recorded.tenant,
        "workflow_id": recorded.stream_id,
        "name": storable(started.name),
        "kind": started.kind or events_pb2.WORKFLOW_KIND_WORKFLOW,
        "state": value_pb2.WORKFLOW_STATE_RUNNING,
        "open": started.open,
        "started_at_us": recorded.recorded_at_us,
        "ended_at_us": 0,
        "principal": event.principal.SerializeToString(),
        "failure": None,
    }


def _step_ended(change: _Change, event: RecordedEvent) -> None:
    change.count(_ENDINGS[event.type])


def _step_succeeded(change: _Change, event: RecordedEvent) -> None:
    change.count("succeeded")
    if decode_record(event.record).step_succeeded.degraded_by:
        change.count("degraded")


def _steps_added(change: _Change, event: RecordedEvent) -> None:
    change.count("steps", len(decode_record(event.record).steps_added.steps))


def _for_each_expanded(change: _Change, event: RecordedEvent) -> None:
    # Each item is a step of its own.
    change.count("steps", decode_record(event.record).for_each_expanded.count)


def _finish_requested(change: _Change, _event: RecordedEvent) -> None:
    change.closed = True


def _turned(change: _Change, event: RecordedEvent) -> None:
    change.state = _TURNS[event.type]
    if change.state == value_pb2.WORKFLOW_STATE_CANCELING:
        return
    change.ended_at_us = event.recorded_at_us
    if change.state == value_pb2.WORKFLOW_STATE_FAILED:
        change.failure = decode_record(event.record).workflow_failed.failure.SerializeToString()


_FOLDS: dict[int, Callable[[_Change, RecordedEvent], None]] = {
    TYPE_NUMBERS["workflow_started"]: _started,
    TYPE_NUMBERS["steps_added"]: _steps_added,
    TYPE_NUMBERS["for_each_expanded"]: _for_each_expanded,
    TYPE_NUMBERS["workflow_finish_requested"]: _finish_requested,
    **dict.fromkeys(_TURNS, _turned),
    **dict.fromkeys(_ENDINGS, _step_ended),
    TYPE_NUMBERS["step_succeeded"]: _step_succeeded,
}


def _new_row(started: Mapping[str, object], change: _Change) -> dict[str, object]:
    counts = {name: change.more.get(name, 0) for name in _COUNTS}
    row = {**started, "stream_version": change.stream_version, **counts}
    if change.closed:
        row["open"] = False
    if change.state:
        row |= {"state": change.state, "ended_at_us": change.ended_at_us, "failure": change.failure, "open": False}
    return row


def _count_row(tenant: str, workflow_id: str, change: _Change) -> dict[str, object]:
    more = {f"more_{name}": change.more.get(name, 0) for name in _COUNTS}
    return {"of_tenant": tenant, "of_workflow": workflow_id, "now_version": change.stream_version, **more}


def _close_row(tenant: str, workflow_id: str) -> dict[str, object]:
    return {"of_tenant": tenant, "of_workflow": workflow_id, "now_open": False}


def _turn_row(tenant: str, workflow_id: str, change: _Change) -> dict[str, object]:
    turn = {"now_state": change.state, "now_ended_at_us": change.ended_at_us, "now_failure": change.failure}
    return {**_close_row(tenant, workflow_id), **turn}
