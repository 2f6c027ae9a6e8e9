"""The workflows that have not ended, as the statistics of tools remember them: in memory, and in two tables.

A workflow that begins and ends within a batch is never written. Of others the tables hold each plan once, and a row for
each step that waits or runs; both are dropped when the workflow ends.

Invariant: after `write_down` the tables hold what is in memory, and memory a part of what is in the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from operator import attrgetter

import orjson
from sqlalchemy import BigInteger, Column, Connection, LargeBinary, MetaData, Table, Text, bindparam, insert, select
from sqlalchemy.dialects import postgresql

from service.projections.database import PreparedStatement
from service.projections.tool_runs import FOLDS, OpenStep, Run
from store.contract import RecordedEvent
from store.records import TYPE_NUMBERS

RUNS_KEPT = 10_000
"""Of how many workflows is kept in memory what is remembered of them, so that a batch need not read it."""
PLANNED_STEPS_KEPT = 200_000
"""And of how many steps in all."""

_WORKFLOW_STARTED = TYPE_NUMBERS["workflow_started"]

Stream = tuple[str, str]
"""tenant, stream_id."""
_STREAM: Callable[[RecordedEvent], Stream] = attrgetter("tenant", "stream_id")
_Row = dict[str, object]


class OpenRuns:
    """What is remembered of workflows that are open."""

    def __init__(self, prefix: str, metadata: MetaData) -> None:
        self.plans = _plans_table(f"{prefix}_plans", metadata)
        self.steps = _steps_table(f"{prefix}_steps", metadata)
        self._add_plan = PreparedStatement(insert(self.plans), self.plans.columns.keys())
        self._put_step = put(self.steps)
        self._drop_step = _drop(self.steps, "tenant", "stream_id", "step_id")
        self._drop_steps = _drop(self.steps, "tenant", "stream_id")
        self._drop_plans = _drop(self.plans, "tenant", "stream_id")
        self.forget_all()

    def forget_all(self) -> None:
        """Forget what is in memory."""
        self._runs: dict[Stream, Run] = {}
        """The longest unused first."""
        self._written: dict[Stream, set[str]] = {}
        """The steps of those workflows that have a row. A workflow that is not in it has none of any kind."""

    def of(self, connection: Connection, events: Sequence[RecordedEvent]) -> dict[Stream, Run]:
        """What is remembered of all workflows that the events are in, to be folded into."""
        begun = {_STREAM(event) for event in events if event.type == _WORKFLOW_STARTED and event.stream_version == 1}
        found: dict[Stream, Run] = {}
        unknown: dict[str, list[str]] = {}
        for stream in dict.fromkeys(_STREAM(event) for event in events if event.type in FOLDS):
            run = self._runs.pop(stream, None)
            if run is None and stream not in begun:
                unknown.setdefault(stream[0], []).append(stream[1])
            # Put behind the others: it is the one used last.
            found[stream] = self._runs[stream] = run or Run()
        for tenant, stream_ids in unknown.items():
            self._read(connection, tenant, stream_ids)
        return found

    def write_down(self, connection: Connection, runs: dict[Stream, Run]) -> None:
        """Bring the tables to what is remembered of these workflows, and forget those that have ended."""
        ended: list[_Row] = []
        plans: list[_Row] = []
        put_steps: list[_Row] = []
        dropped: list[_Row] = []
        for stream, run in runs.items():
            if run.ended:
                del self._runs[stream]
                if self._written.pop(stream, None) is not None:
                    ended.append({"of_tenant": stream[0], "of_stream_id": stream[1]})
            elif run.plans or run.changed:
                written = self._written.setdefault(stream, set())
                plans += _plan_rows(stream, run)
                put_steps += _step_rows(stream, run)
                gone = [step_id for step_id in run.changed if step_id in written and step_id not in run.steps]
                dropped += [{"of_tenant": stream[0], "of_stream_id": stream[1], "of_step_id": each} for each in gone]
                written.update(run.steps.keys() & run.changed)
                written.difference_update(gone)
                run.plans, run.changed = {}, set()
        self._add_plan.execute_many(connection, plans)
        self._put_step.execute_many(connection, put_steps)
        self._drop_step.execute_many(connection, dropped)
        self._drop_steps.execute_many(connection, ended)
        self._drop_plans.execute_many(connection, ended)
        self._forget_longest_unused()

    def _read(self, connection: Connection, tenant: str, stream_ids: Collection[str]) -> None:
        plans, steps = self.plans.c, self.steps.c
        query = select(plans.stream_id, plans.tools).where(plans.tenant == tenant, plans.stream_id.in_(stream_ids))
        for stream_id, tools in connection.execute(query.order_by(plans.stream_id, plans.position)):
            self._runs[tenant, stream_id].plan(orjson.loads(tools))
            self._written.setdefault((tenant, stream_id), set())
        of_steps = select(steps.stream_id, steps.step_id, steps.link_tool, steps.queued_at_us, steps.started_at_us)
        of_steps = of_steps.where(steps.tenant == tenant, steps.stream_id.in_(stream_ids))
        for stream_id, step_id, link_tool, queued_at_us, started_at_us in connection.execute(of_steps):
            self._runs[tenant, stream_id].steps[step_id] = OpenStep(link_tool, queued_at_us, started_at_us)
            self._written.setdefault((tenant, stream_id), set()).add(step_id)

    def _forget_longest_unused(self) -> None:
        planned = sum(len(run.tools) for run in self._runs.values())
        while len(self._runs) > RUNS_KEPT or planned > PLANNED_STEPS_KEPT:
            stream = next(iter(self._runs))
            planned -= len(self._runs.pop(stream).tools)
            self._written.pop(stream, None)


def put(table: Table) -> PreparedStatement:
    """A statement that writes a row, in the place of the one with its key if there is one."""
    # Both databases say this in the same words.
    statement = postgresql.insert(table)
    rest = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
    key = [column.name for column in table.primary_key]
    return PreparedStatement(statement.on_conflict_do_update(index_elements=key, set_=rest), table.columns.keys())


def _drop(table: Table, *key: str) -> PreparedStatement:
    return PreparedStatement(table.delete().where(*(table.c[name] == bindparam(f"of_{name}") for name in key)))


def _plan_rows(stream: Stream, run: Run) -> list[_Row]:
    tenant, stream_id = stream
    return [
        {"tenant": tenant, "stream_id": stream_id, "position": position, "tools": orjson.dumps(tools)}
        for position, tools in run.plans.items()
    ]


def _step_rows(stream: Stream, run: Run) -> list[_Row]:
    tenant, stream_id = stream
    return [
        {
            "tenant": tenant,
            "stream_id": stream_id,
            "step_id": step_id,
            "link_tool": step.link_tool,
            "queued_at_us": step.queued_at_us,
            "started_at_us": step.started_at_us,
        }
        for step_id in run.changed
        if (step := run.steps.get(step_id)) is not None
    ]


def _plans_table(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        Column("tenant", Text, primary_key=True),
        Column("stream_id", Text, primary_key=True),
        # Of the event that added them.
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        # JSON: see Run.tools.
        Column("tools", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


def _steps_table(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        Column("tenant", Text, primary_key=True),
        Column("stream_id", Text, primary_key=True),
        Column("step_id", Text, primary_key=True),
        # See OpenStep.
        Column("link_tool", Text),
        Column("queued_at_us", BigInteger, nullable=False),
        Column("started_at_us", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
