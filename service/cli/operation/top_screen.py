"""What `podium top` shows: a frame of figures, its order, and the frame as rows.

Invariant: a frame is drawn from what was read at one moment; drawing it again in another order reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from service.cli.operation.tool_figures import ToolFigures, short_time

if TYPE_CHECKING:
    from rich.console import RenderableType

_LEVELS = "▁▂▃▄▅▆▇█"
_LEVELS_ASCII = "_.-:=+*#"
_TITLE_CHARACTERS = 160


class Column(NamedTuple):
    """A column: its name, what a cell says, and what rows are sorted by."""

    name: str
    cell: Callable[[ToolFigures], str]
    key: Callable[[ToolFigures], Any]
    highest_first: bool = True


COLUMNS = (
    Column("tool", lambda f: f.tool, lambda f: f.tool, highest_first=False),
    Column("calls", lambda f: f"{f.calls}", lambda f: f.calls),
    Column("calls/s", lambda f: f"{f.calls_per_s:.2f}", lambda f: f.calls_per_s),
    Column("errors", lambda f: f"{f.errors_percent:.1f} %", lambda f: f.errors_percent),
    Column("p50", lambda f: short_time(f.statistics.latency.p50_us), lambda f: f.statistics.latency.p50_us),
    Column("p90", lambda f: short_time(f.statistics.latency.p90_us), lambda f: f.statistics.latency.p90_us),
    Column("p99", lambda f: short_time(f.statistics.latency.p99_us), lambda f: f.statistics.latency.p99_us),
    Column("queued", lambda f: short_time(f.statistics.queue_time.p90_us), lambda f: f.statistics.queue_time.p90_us),
    Column("cached", lambda f: f"{f.cache_percent:.0f} %", lambda f: f.cache_percent),
    Column("breaker", lambda f: f.breaker, lambda f: f.breaker),
)
NAMES = tuple(column.name for column in COLUMNS)


@dataclass(slots=True)
class Order:
    """By which column rows are sorted."""

    column: int = 1
    is_turned: bool = False
    """Whether the other way round than is usual for the column."""

    def choose(self, column: int) -> None:
        """Sort by a column; chosen again, the other way round."""
        self.is_turned = column == self.column and not self.is_turned
        self.column = column

    def sort(self, figures: Sequence[ToolFigures]) -> list[ToolFigures]:
        """Return the figures in this order, those that are alike by name."""
        column = COLUMNS[self.column]
        by_name = sorted(figures, key=lambda each: each.tool)
        return sorted(by_name, key=column.key, reverse=column.highest_first != self.is_turned)


@dataclass(frozen=True, slots=True)
class Frame:
    """What was read at one moment."""

    at_us: int
    window_minutes: int
    figures: Sequence[ToolFigures] = field(default=())
    problem: str = ""
    """Why there is nothing newer to show; empty: there is."""

    def title(self, order: Order) -> str:
        """Return the line above the rows."""
        from service.cli.output import moment
        from service.cli.terminal_text import counted, one_line

        calls = sum(each.calls_per_s for each in self.figures)
        about = f"{counted(len(self.figures), 'tool')}, {calls:.2f} calls/s in {self.window_minutes} min"
        # What is wrong comes first: it is what a narrow terminal must show.
        parts = (self.problem, moment(self.at_us), about, f"by {NAMES[order.column]}")
        return one_line("   ".join(filter(None, parts)), _TITLE_CHARACTERS)

    def as_dict(self) -> dict[str, Any]:
        """Return the frame as JSON."""
        from service.cli.output import moment

        tools = [each.as_dict() for each in self.figures]
        return {"at": moment(self.at_us), "at_us": self.at_us, "window_minutes": self.window_minutes, "tools": tools}

    def header(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return (*NAMES, "trend")

    def rows(self, order: Order) -> list[tuple[str, ...]]:
        """Return a row for each tool."""
        return [
            (*(column.cell(each) for column in COLUMNS), sparkline(each.trend)) for each in order.sort(self.figures)
        ]


def sparkline(counts: Sequence[int]) -> str:
    """Return counts as a line of blocks, the highest of them full; of ASCII where the output has no blocks."""
    from service.cli.output import can_print

    levels = _LEVELS if can_print(_LEVELS) else _LEVELS_ASCII
    # Of nothing but zeros each is the lowest.
    highest = max(counts, default=0) or 1
    return "".join(levels[-(-count * (len(levels) - 1) // highest)] for count in counts)


def drawn(frame: Frame, order: Order, height: int) -> RenderableType:
    """Return the frame for a terminal of so many lines."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="dim", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(frame.header()):
        is_text = number in (0, len(NAMES) - 1, len(NAMES))
        style = "bold" if number == order.column else None
        table.add_column(Text(name), justify="left" if is_text else "right", style=style, no_wrap=True)
    rows = frame.rows(order)
    # The title, the header and the line of keys stand beside the rows.
    shown = rows[: max(1, height - 4)]
    for row in shown:
        table.add_row(*map(Text, row))
    more = f"   {len(rows) - len(shown)} more" if len(rows) > len(shown) else ""
    keys = Text(f"q quit   1-9 sort by a column, again: the other way{more}", style="dim")
    return Group(Text(frame.title(order), style="bold"), table, keys)
