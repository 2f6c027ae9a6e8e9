"""The statistics of tools: what each tool of a tenant did in each minute, and in each hour.

A row holds a tally, and tallies add up, so that any window can be told by adding rows. A minute is added to its hour
when the first event after the minute comes, so that a long window is a matter of hours.

Invariant: the rows are a function of the events alone, however they were cut into batches and however often the process
was started anew in between. What is in memory is a part of what is in the tables, as of the last batch; a batch that
does not follow it, because the one before did not commit, finds everything forgotten and reads it again.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, LargeBinary, MetaData, Table, Text, select

from service.projections.open_runs import OpenRuns, put
from service.projections.tool_runs import BREAKER_TRANSITIONED, FOLDS, TallyOf, fold_breaker
from service.projections.tool_tally import ToolTally
from store.contract import RecordedEvent
from store.records import decode_record

MINUTE_US = 60_000_000
HOUR_MINUTES = 60
MINUTES_KEPT = 14 * 24 * HOUR_MINUTES
"""For how long minutes are kept beside their hours, counted back from the hour of the last event."""

_Cell = tuple[str, int, str]
"""tenant, minute, tool."""


class ToolStatistics:
    """The projection that keeps the statistics."""

    name = "statistics"
    schema_version = 1

    def __init__(self, generation: int) -> None:
        self.metadata = MetaData()
        prefix = f"{self.name}_{generation}"
        self.minutes = _tallies_table(f"{prefix}_minutes", self.metadata)
        self.hours = _tallies_table(f"{prefix}_hours", self.metadata)
        self.progress = _progress_table(f"{prefix}_progress", self.metadata)
        self._open = OpenRuns(prefix, self.metadata)
        self._put_minute = put(self.minutes)
        self._put_hour = put(self.hours)
        self._put_progress = put(self.progress)
        self._next_position = -1
        """Of the event that follows what is in memory."""
        self._begun_at = -1
        """Of this minute there may be tallies in the table that are not in memory, and of none after it."""
        self._tallies: dict[_Cell, ToolTally] = {}
        self._added_up_before = -1
        """The minute before which all minutes are added to their hours."""

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Count the events."""
        if events[0].position != self._next_position:
            self._begin_at(events[0])
        # Whatever stops this batch half-way, the next one begins from what is in the tables.
        self._next_position = -1
        self._count(connection, events)
        newest = events[-1].recorded_at_us // MINUTE_US
        self._add_up(connection, newest)
        self._tallies = {cell: tally for cell, tally in self._tallies.items() if cell[1] == newest}
        self._next_position = events[-1].position + 1

    def added_up_before(self, connection: Connection) -> int:
        """The minute before which all minutes are added to their hours."""
        before: int | None = connection.execute(select(self.progress.c.added_up_before)).scalar()
        return before or 0

    def _begin_at(self, event: RecordedEvent) -> None:
        """Forget what is in memory, because it is not what is in the tables before this event."""
        self._begun_at = event.recorded_at_us // MINUTE_US
        self._tallies = {}
        self._added_up_before = -1
        self._open.forget_all()

    def _count(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        runs = self._open.of(connection, events)
        changed: dict[_Cell, ToolTally] = {}
        tallies: dict[tuple[str, int], TallyOf] = {}
        for recorded in events:
            fold = FOLDS.get(recorded.type)
            if fold is None and recorded.type != BREAKER_TRANSITIONED:
                continue
            place = recorded.tenant, recorded.recorded_at_us // MINUTE_US
            tally = tallies.get(place) or tallies.setdefault(place, self._tally_of(connection, *place, changed))
            event = decode_record(recorded.record)
            if fold is None:
                fold_breaker(event, tally)
            else:
                fold(runs[recorded.tenant, recorded.stream_id], event, recorded.recorded_at_us, tally)
        self._put_minute.execute_many(connection, [_row(*cell, changed[cell]) for cell in sorted(changed)])
        self._open.write_down(connection, runs)

    def _tally_of(self, connection: Connection, tenant: str, minute: int, changed: dict[_Cell, ToolTally]) -> TallyOf:
        def tally(tool: str) -> ToolTally:
            cell = (tenant, minute, tool)
            found = changed.get(cell)
            if found is None:
                found = self._tallies.get(cell) or self._tallies.setdefault(cell, self._stored(connection, cell))
                changed[cell] = found
            return found

        return tally

    def _stored(self, connection: Connection, cell: _Cell) -> ToolTally:
        tenant, minute, tool = cell
        if minute != self._begun_at:
            return ToolTally()
        rows = self.minutes.c
        query = select(rows.tally).where(rows.tenant == tenant, rows.minute == minute, rows.tool == tool)
        stored: bytes | None = connection.execute(query).scalar()
        return ToolTally() if stored is None else ToolTally.from_bytes(stored)

    def _add_up(self, connection: Connection, before: int) -> None:
        """Add to their hours the minutes that are over, which are those before this one, and drop what is too old."""
        if before == self._added_up_before:
            return
        first, rows = self.added_up_before(connection), self.minutes.c
        hours = self._hour_tallies(connection, hour_of(first))
        changed: set[_Cell] = set()
        query = select(rows.minute, rows.tenant, rows.tool, rows.tally).where(rows.minute >= first)
        for minute, tenant, tool, stored in connection.execute(query.where(rows.minute < before).order_by(rows.minute)):
            cell = (tenant, hour_of(minute), tool)
            hours.setdefault(cell, ToolTally()).merge(ToolTally.from_bytes(stored))
            changed.add(cell)
        self._put_hour.execute_many(connection, [_row(*cell, hours[cell]) for cell in sorted(changed)])
        self._put_progress.execute(connection, {"id": 1, "added_up_before": before})
        connection.execute(self.minutes.delete().where(rows.minute < hour_of(before) - MINUTES_KEPT))
        self._added_up_before = before

    def _hour_tallies(self, connection: Connection, hour: int) -> dict[_Cell, ToolTally]:
        """What there is of an hour, which may not be over."""
        rows = self.hours.c
        query = select(rows.tenant, rows.tool, rows.tally).where(rows.minute == hour)
        return {
            (tenant, hour, tool): ToolTally.from_bytes(stored) for tenant, tool, stored in connection.execute(query)
        }


def hour_of(minute: int) -> int:
    """The minute in which the hour of this minute begins."""
    return minute - minute % HOUR_MINUTES


def _row(tenant: str, minute: int, tool: str, tally: ToolTally) -> dict[str, object]:
    return {"tenant": tenant, "minute": minute, "tool": tool, "tally": tally.to_bytes()}


def _tallies_table(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        Column("tenant", Text, primary_key=True),
        # In which it begins, in minutes since the Unix epoch.
        Column("minute", BigInteger, primary_key=True, autoincrement=False),
        Column("tool", Text, primary_key=True),
        # See ToolTally.to_bytes.
        Column("tally", LargeBinary, nullable=False),
        # Minutes are added to their hours, and dropped when they are old, for all tenants at once.
        Index(f"{name}_by_minute", "minute"),
        sqlite_with_rowid=False,
    )


def _progress_table(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        # There is one row.
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("added_up_before", BigInteger, nullable=False),
    )
