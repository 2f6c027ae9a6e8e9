"""The frame of `podium top`: its figures, its order, and how it fits a terminal."""

import contextlib
import io
import json

import pytest
from rich.console import Console

from podium.v1 import monitoring_service_pb2 as pb
from service.cli import main
from service.cli.operation.tool_figures import figures_of, short_time
from service.cli.operation.top_command import _print
from service.cli.operation.top_screen import NAMES, Frame, Order, drawn, sparkline
from service.cli.output import print_json, say

MINUTE_US = 60_000_000
NOW_US = 2 * MINUTE_US


def tool(name, succeeded=0, failed=0, p99_us=0, ended=0, **fields):
    latency = pb.Latency(count=ended, p50_us=p99_us / 2, p99_us=p99_us)
    errors = [pb.ReasonCount(reason="TIMEOUT", count=failed)] if failed else []
    return pb.ToolStatistics(tool=name, succeeded=succeeded, failed=failed, latency=latency, errors=errors, **fields)


def figures(*tools, buckets=(), breakers=None):
    # The last minute has only begun.
    total = pb.StatisticsBucket(from_us=0, to_us=NOW_US + MINUTE_US, tools=tools)
    return figures_of(pb.GetToolStatisticsResponse(total=total, buckets=buckets), NOW_US, breakers)


@pytest.fixture
def frame():
    some = figures(
        tool("a", succeeded=10, p99_us=500, ended=10),
        tool("b", succeeded=5, failed=5, p99_us=2_000_000, ended=10),
        tool("c", succeeded=20, p99_us=9_000, ended=20, cache_hits=5),
        breakers={"b": "half open"},
    )
    return Frame(NOW_US, 3, some)


def names(frame, order):
    return [row[0] for row in frame.fitted(order).cells]


def columns(frame, width, order=None):
    return [column.name for column in frame.fitted(order or Order(), width).columns]


def cells(frame, name):
    fitted = frame.fitted(Order(0))
    return [row[columns(frame, 0).index(name)] for row in fitted.cells]


def lines(frame, width, height=0, order=None):
    """What a terminal of this size shows."""
    console = Console(file=io.StringIO(), width=width, height=height or 25)
    console.print(drawn(frame, order or Order(), width, height))
    return console.file.getvalue().splitlines()


def test_rates_are_of_the_time_that_has_passed(frame):
    assert [each.calls_per_s for each in frame.figures] == [10 / 120, 10 / 120, 20 / 120]


def test_parts_are_in_percent(frame):
    assert cells(frame, "errors") == ["0.0 %", "50.0 %", "0.0 %"]
    assert cells(frame, "cached") == ["0 %", "0 %", "25 %"]
    assert cells(frame, "breaker") == ["", "half open", ""]


def test_nothing_is_no_division_by_nothing():
    [none] = figures(tool("idle"))
    assert (none.errors_percent, none.cache_percent, none.calls_per_s) == (0, 0, 0)
    assert figures_of(pb.GetToolStatisticsResponse(total={"tools": [tool("x", 3)]}), 0)[0].calls_per_s == 0


def test_the_highest_comes_first_and_a_name_in_its_order(frame):
    assert names(frame, Order(NAMES.index("p99"))) == ["b", "c", "a"]
    assert names(frame, Order(NAMES.index("tool"))) == ["a", "b", "c"]


def test_a_column_that_is_chosen_again_is_turned(frame):
    order = Order()
    order.choose(NAMES.index("p99"))
    assert names(frame, order) == ["b", "c", "a"]
    order.choose(NAMES.index("p99"))
    assert names(frame, order) == ["a", "c", "b"]
    order.choose(NAMES.index("tool"))
    assert names(frame, order) == ["a", "b", "c"]


def test_the_trend_has_a_block_for_each_stretch():
    buckets = [pb.StatisticsBucket(tools=[tool("a", succeeded=count)]) for count in (0, 1, 8)]
    [each] = figures(tool("a", succeeded=9), buckets=[*buckets, pb.StatisticsBucket()])
    assert [*each.trend] == [0, 1, 8, 0]
    assert sparkline(each.trend) == "▁▂█▁"
    assert (sparkline([0, 0]), sparkline([])) == ("▁▁", "")


class Ascii(io.TextIOWrapper):
    """Standard output without more."""

    def __init__(self):
        super().__init__(io.BytesIO(), encoding="ascii", write_through=True)

    def written(self):
        return self.buffer.getvalue().decode("ascii")


def test_where_there_is_nothing_but_ascii_a_frame_is_ascii(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    buckets = [pb.StatisticsBucket(tools=[tool("a", succeeded=count)]) for count in (0, 1, 8)]
    some = figures(tool("a", succeeded=9, p99_us=500, ended=9), buckets=buckets)
    with contextlib.redirect_stdout(Ascii()) as output:
        _print(Frame(NOW_US, 3, some), Order())
    assert output.written().splitlines()[-1].split()[-1] == "_.#"
    assert "500 us" in output.written()


def test_json_holds_everything_where_there_is_nothing_but_ascii():
    with contextlib.redirect_stdout(Ascii()) as output:
        print_json({"tool": "größe"})
    assert json.loads(output.written()) == {"tool": "größe"}


def test_a_name_that_cannot_be_printed_ends_no_command(monkeypatch):
    monkeypatch.setattr(main, "app", lambda *_, **__: say("größe"))
    with contextlib.redirect_stdout(Ascii()) as output, pytest.raises(SystemExit) as ended:
        main.run([])
    assert ended.value.code == 0
    assert output.written() == "gr\\xf6\\xdfe\n"


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0, ""), (850.4, "850 µs"), (12_340, "12.3 ms"), (999_700, "1.00 s"), (1_250_000, "1.25 s")],
)
def test_a_time_has_the_unit_that_fits(microseconds, text):
    assert short_time(microseconds) == text


def test_a_low_terminal_shows_the_first_rows_and_says_how_many_more_there_are(frame):
    shown = lines(frame, 160, 5)
    assert "1 more" in shown[-1]
    assert [line.split()[0] for line in shown[2:-1]] == ["c", "a"]
    assert len(shown) == 5
    shown = lines(frame, 160, 6)
    assert "more" not in shown[-1]
    assert len(shown) == 6


@pytest.fixture
def wide():
    """A frame whose figures are as long as figures are, of tools with long names."""
    some = [
        tool(name, succeeded=90_000, failed=9_999, p99_us=12_300, ended=100_000, queue_time=pb.Latency(p90_us=12_300))
        for name in ("search_internal_documents_of_customers", "quote")
    ]
    trend = [pb.StatisticsBucket(tools=some)] * 20
    return Frame(NOW_US, 15, figures(*some, buckets=trend, breakers={"quote": "half open"}))


@pytest.mark.parametrize(
    ("width", "left"),
    [
        (
            150,
            ["tool", "calls", "calls/s", "errors", "p50", "p90", "p99", "queued", "cached", "breaker", "trend"],
        ),
        (120, ["tool", "calls", "calls/s", "errors", "p50", "p90", "p99", "queued", "cached", "breaker"]),
        (80, ["tool", "calls", "errors", "p90", "p99", "cached", "breaker"]),
        (60, ["tool", "calls", "errors", "p90", "p99", "breaker"]),
        (40, ["tool", "calls", "errors", "p99"]),
        (20, ["tool", "calls"]),
        (8, ["tool"]),
    ],
)
def test_where_there_is_no_room_columns_are_left_out_and_no_figure_is_cut(wide, width, left):
    assert columns(wide, width) == left
    whole = wide.fitted(Order())
    fitted = wide.fitted(Order(), width)
    names_of_all = columns(wide, 0)
    for row, all_of_row in zip(fitted.cells, whole.cells, strict=True):
        assert list(row[1:]) == [all_of_row[names_of_all.index(name)] for name in left[1:]]


@pytest.mark.parametrize("width", [1, 2, 7, 12, 13, 19, 20, 40, 59, 60, 61, 79, 80, 81, 119, 120, 150, 200])
def test_a_line_is_never_longer_than_the_terminal_is_wide(wide, width):
    shown = lines(wide, width, 8)
    assert len(shown) == 5
    assert max(map(len, shown)) <= width
    assert [line[: min(width - 1, 5)] for line in shown[2:4]] == ["quote"[: width - 1], "searc"[: width - 1]]


def test_a_long_name_has_what_the_figures_leave(wide):
    assert wide.fitted(Order(), 40).cells[1][0] == "search_interna…"
    assert wide.fitted(Order(), 80).cells[1][0] == "search_internal_documents_…"
    assert wide.fitted(Order(), 150).cells[1][0] == "search_internal_documents_of_customers"


def test_the_column_by_which_rows_are_sorted_is_shown(wide):
    assert columns(wide, 60, Order(NAMES.index("p50"))) == ["tool", "calls", "errors", "p50", "p99", "breaker"]


def test_the_title_and_the_keys_are_a_line_each(wide):
    title, *_, keys = lines(wide, 40, 4)
    assert title == "1970-01-01T00:02:00.000Z   2 tools, 166…"
    assert keys == "q quit   1 more   1-9 sort by a column,…"


def test_one_frame_is_as_wide_as_the_terminal_or_as_it_is_told_to_be(wide, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    _print(wide, Order())
    assert "trend" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "60")
    _print(wide, Order())
    piped = capsys.readouterr().out.splitlines()
    assert piped[1].split() == ["tool", "calls", "errors", "p90", "p99", "breaker"]
    assert max(map(len, piped)) <= 60
    monkeypatch.setattr("service.cli.output.terminal", lambda: Console(force_terminal=True, width=40, no_color=True))
    _print(wide, Order())
    shown = capsys.readouterr().out
    assert "p99" in shown
    assert "p90" not in shown


def test_what_is_wrong_is_told_above_the_rows(frame):
    lost = Frame(frame.at_us, 3, frame.figures, problem="no service\nanswers")
    assert lost.title(Order()).startswith("no service answers ")
