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
    return [row[0] for row in frame.rows(order)]


def cells(frame, name):
    rows = frame.rows(Order(0))
    return [row[frame.header().index(name)] for row in rows]


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


def test_where_there_is_nothing_but_ascii_a_frame_is_ascii():
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
    ("microseconds", "text"), [(0, ""), (850.4, "850 µs"), (12_340, "12.3 ms"), (1_250_000, "1.25 s")]
)
def test_a_time_has_the_unit_that_fits(microseconds, text):
    assert short_time(microseconds) == text


def test_a_low_terminal_shows_the_first_rows_and_says_how_many_more_there_are(frame):
    console = Console(file=io.StringIO(), width=160, height=6)
    console.print(drawn(frame, Order(), 6))
    shown = console.file.getvalue()
    assert "1 more" in shown
    assert len(shown.splitlines()) <= 6


def test_what_is_wrong_is_told_above_the_rows(frame):
    lost = Frame(frame.at_us, 3, frame.figures, problem="no service\nanswers")
    assert lost.title(Order()).startswith("no service answers ")
