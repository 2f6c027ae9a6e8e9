"""Reads what tools did in a window: the minutes at its ends, and the hours between them, added up.

Invariant: each minute of the window is read once, as itself or within its hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Table, select

from service.projections import checkpoints
from service.projections.database import storable
from service.projections.read_model import ReadModel
from service.projections.tool_statistics import HOUR_MINUTES, MINUTES_KEPT, ToolStatistics, hour_of
from service.projections.tool_tally import ToolTally

ROWS_MAX = 200_000
"""Of how many rows an answer is added up at most: some seconds of a reader's time."""


class WindowError(ValueError):
    """What was asked for cannot be told. `field` names the field of the request that is at fault."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, in minutes since the Unix epoch."""

    first: int
    before: int
    bucket_minutes: int = 0
    """Cut into stretches of so many; 0: not cut."""


@dataclass(slots=True)
class Stretch:
    """What the tools did in a stretch of time."""

    first: int
    before: int
    tools: dict[str, ToolTally] = field(default_factory=dict)

    def add(self, tool: str, tally: ToolTally) -> None:
        """Add a tally of the tool."""
        self.tools.setdefault(tool, ToolTally()).merge(tally)


@dataclass(frozen=True, slots=True)
class Statistics:
    """The whole window, and its stretches."""

    total: Stretch
    buckets: Sequence[Stretch]
    position: int
    """Of the last event that is counted."""


class StatisticsQuery:
    """Answers from the projection `ToolStatistics`."""

    def __init__(self, model: ReadModel[ToolStatistics]) -> None:
        self._model = model

    async def read(self, tenant: str, window: Window, tools: Sequence[str] = ()) -> Statistics:
        """Add up what the tools of a tenant did; without `tools`, all of them.

        Of a time whose minutes are not kept any more, whole hours are told: the window is made wider to these.

        Raises WindowError for stretches that are not to be had any more, and for more than ROWS_MAX rows.
        """

        def read(connection: Connection, kept: ToolStatistics) -> Statistics:
            added_up_before = kept.added_up_before(connection)
            widened = _widened(window, hour_of(added_up_before) - MINUTES_KEPT)
            total = Stretch(widened.first, widened.before)
            buckets = _buckets(widened)
            rows = 0
            for table, first, before in _cover(kept, widened, added_up_before):
                for minute, tool, tally in _rows(connection, table, tenant, tools, first, before):
                    rows += 1
                    if rows > ROWS_MAX:
                        raise WindowError("from_us", "is too long ago: ask for fewer tools or for less time")
                    total.add(tool, tally)
                    if buckets:
                        buckets[(minute - widened.first) // widened.bucket_minutes].add(tool, tally)
            return Statistics(total, buckets, checkpoints.served_position(connection, kept.name))

        return await self._model.read(read)


def _widened(window: Window, kept_from: int) -> Window:
    first, before, cut = window.first, window.before, window.bucket_minutes
    if first >= kept_from:
        return window
    if cut % HOUR_MINUTES:
        days = MINUTES_KEPT // HOUR_MINUTES // 24
        raise WindowError("bucket_minutes", f"is not in whole hours, and minutes are kept for {days} days")
    if before < kept_from:
        before += -before % HOUR_MINUTES
    return Window(hour_of(first), before, cut)


def _buckets(window: Window) -> list[Stretch]:
    if not (cut := window.bucket_minutes):
        return []
    return [Stretch(at, min(at + cut, window.before)) for at in range(window.first, window.before, cut)]


def _cover(kept: ToolStatistics, window: Window, added_up_before: int) -> Iterator[tuple[Table, int, int]]:
    first, before = window.first, window.before
    first_hour, last_hour = first + -first % HOUR_MINUTES, hour_of(min(before, added_up_before))
    # An hour must lie within a stretch.
    is_cut_in_hours = not window.bucket_minutes or not (window.bucket_minutes % HOUR_MINUTES or first % HOUR_MINUTES)
    if first_hour >= last_hour or not is_cut_in_hours:
        yield kept.minutes, first, before
        return
    yield kept.minutes, first, first_hour
    yield kept.hours, first_hour, last_hour
    yield kept.minutes, last_hour, before


def _rows(
    connection: Connection, table: Table, tenant: str, tools: Sequence[str], first: int, before: int
) -> Iterator[tuple[int, str, ToolTally]]:
    if first >= before:
        return
    query = select(table.c.minute, table.c.tool, table.c.tally).where(
        table.c.tenant == tenant, table.c.minute >= first, table.c.minute < before
    )
    if tools:
        query = query.where(table.c.tool.in_([storable(tool) for tool in tools]))
    # Ordered, because reasons beyond the number that is told apart depend on which came first.
    for minute, tool, stored in connection.execute(query.order_by(table.c.minute).limit(ROWS_MAX + 1)):
        yield minute, tool, ToolTally.from_bytes(stored)
