"""What `podium top` shows: a frame of figures, its order, and the frame as rows.

Invariant: a frame is drawn from what was read at one moment; drawing it again in another order reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from service.cli.operation.tool_figures import ToolFigures, short_time

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType

_GAP = 2
_LEVELS = "▁▂▃▄▅▆▇█"
_LEVELS_ASCII = "_.-:=+*#"
_LINES_BESIDE_ROWS = 3
"""The title, the header and the line of keys."""
_TOOL_PART = 4
"""A tool's name has at least this part of the line, as far as it needs it."""
_TOOL_WIDTH = 12


class Column(NamedTuple):
    """A column: its name, what a cell says, what rows are sorted by, and how wide its cells usually are.

    It is never narrower than that, so that columns do not come and go with every figure.
    """

    name: str
    cell: Callable[[ToolFigures], str]
    key: Callable[[ToolFigures], Any]
    width: int = 0
    highest_first: bool = True
    is_text: bool = False


def _time_column(name: str, microseconds: Callable[[ToolFigures], float]) -> Column:
    return Column(name, lambda figures: short_time(microseconds(figures)), microseconds, len("99.9 ms"))


COLUMNS = (
    Column("tool", lambda f: f.tool, lambda f: f.tool, highest_first=False, is_text=True),
    Column("calls", lambda f: f"{f.calls}", lambda f: f.calls, len("99999")),
    Column("calls/s", lambda f: f"{f.calls_per_s:.2f}", lambda f: f.calls_per_s, len("999.99")),
    Column("errors", lambda f: f"{f.errors_percent:.1f} %", lambda f: f.errors_percent, len("100.0 %")),
    _time_column("p50", lambda f: f.statistics.latency.p50_us),
    _time_column("p90", lambda f: f.statistics.latency.p90_us),
    _time_column("p99", lambda f: f.statistics.latency.p99_us),
    _time_column("queued", lambda f: f.statistics.queue_time.p90_us),
    Column("cached", lambda f: f"{f.cache_percent:.0f} %", lambda f: f.cache_percent, len("100 %")),
    Column("breaker", lambda f: f.breaker, lambda f: f.breaker, len("half open"), is_text=True),
)
NAMES = tuple(column.name for column in COLUMNS)
_TREND = Column("trend", lambda f: sparkline(f.trend), lambda f: f.trend, is_text=True)
_GIVEN_UP = ("trend", "calls/s", "p50", "queued", "cached", "p90", "breaker", "p99", "errors", "calls")
"""Which columns are left out where there is no room, the first of them first. Those stay that show what is wrong: how
much is called, how much of it fails, and how slow it can be."""


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

    def title(self, order: Order, width: int = 0) -> str:
        """Return the line above the rows, cut to a width if there is one."""
        from service.cli.output import moment
        from service.cli.terminal_text import counted, one_line

        calls = sum(each.calls_per_s for each in self.figures)
        about = f"{counted(len(self.figures), 'tool')}, {calls:.2f} calls/s in {self.window_minutes} min"
        # What is wrong comes first: it is what a narrow terminal must show.
        parts = (one_line(self.problem), moment(self.at_us), about, f"by {NAMES[order.column]}")
        return _cut("   ".join(filter(None, parts)), width)

    def as_dict(self) -> dict[str, Any]:
        """Return the frame as JSON."""
        from service.cli.output import moment

        tools = [each.as_dict() for each in self.figures]
        return {"at": moment(self.at_us), "at_us": self.at_us, "window_minutes": self.window_minutes, "tools": tools}

    def fitted(self, order: Order, width: int = 0) -> Rows:
        """Return the rows for a line of so many characters, those columns left out that have no room; 0: for any."""
        figures, columns = order.sort(self.figures), (*COLUMNS, _TREND)
        texts = {each.name: [each.cell(tool) for tool in figures] for each in columns}
        widths = {each.name: max([len(each.name), each.width, *map(len, texts[each.name])]) for each in columns}
        if width:
            _fit(widths, width, NAMES[order.column])
        cells = [[_cut(texts[name][row], widths[name]) for name in widths] for row in range(len(figures))]
        return Rows([each for each in columns if each.name in widths], [*widths.values()], cells)


class Rows(NamedTuple):
    """A row for each tool, the columns that they have, and how wide these are."""

    columns: Sequence[Column]
    widths: Sequence[int]
    cells: Sequence[Sequence[str]]


def _fit(widths: dict[str, int], line: int, sorted_by: str) -> None:
    """Leave columns out until the others fit into a line, with their figures whole and as much of the tools' names."""
    longest = widths["tool"]
    widths["tool"] = min(longest, max(_TOOL_WIDTH, line // _TOOL_PART))
    # The column by which the rows are sorted says why they stand where they do, so it goes last.
    leaving = [*sorted(_GIVEN_UP, key=lambda name: name == sorted_by)]
    while (left := line - sum(widths.values()) - _GAP * (len(widths) - 1)) < 0 and leaving:
        del widths[leaving.pop(0)]
    widths["tool"] = max(1, min(longest, widths["tool"] + left))


def _cut(text: str, width: int) -> str:
    """Return the text, or with an ellipsis as much of it as there is room for; 0: for all of it."""
    from service.cli.output import can_print
    from service.cli.terminal_text import ELLIPSIS

    if not width or len(text) <= width:
        return text
    return text[: width - 1].rstrip() + (ELLIPSIS if can_print(ELLIPSIS) else "~")


def sparkline(counts: Sequence[int]) -> str:
    """Return counts as a line of blocks, the highest of them full; of ASCII where the output has no blocks."""
    from service.cli.output import can_print

    levels = _LEVELS if can_print(_LEVELS) else _LEVELS_ASCII
    # Of nothing but zeros each is the lowest.
    highest = max(counts, default=0) or 1
    return "".join(levels[-(-count * (len(levels) - 1) // highest)] for count in counts)


def drawn(frame: Frame, order: Order, width: int, height: int = 0) -> RenderableType:
    """Return the frame for lines of so many characters; with a height, so many lines, of which the last tells keys."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    fitted = frame.fitted(order, width)
    table = Table(header_style="dim", box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for column, column_width in zip(fitted.columns, fitted.widths, strict=True):
        style = "bold" if column.name == NAMES[order.column] else None
        justify: JustifyMethod = "left" if column.is_text else "right"
        name = Text(_cut(column.name, column_width))
        table.add_column(name, justify=justify, style=style, width=column_width, no_wrap=True)
    # A terminal that has no room for the other lines shows the first row at least.
    shown = fitted.cells[: max(1, height - _LINES_BESIDE_ROWS)] if height else fitted.cells
    for row in shown:
        table.add_row(*map(Text, row))
    title = Text(frame.title(order, width), style="bold")
    if not height:
        return Group(title, table)
    more = f"{len(fitted.cells) - len(shown)} more   " if len(fitted.cells) > len(shown) else ""
    keys = f"q quit   {more}1-9 sort by a column, again: the other way"
    return Group(title, table, Text(_cut(keys, width), style="dim"))
