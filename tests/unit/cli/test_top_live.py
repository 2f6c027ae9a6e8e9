"""`podium top` on a terminal while the service is away: what is shown, which keys are heard, and when it goes on."""

import asyncio
import contextlib
import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from podium import PermissionDenied, TimedOut, Unavailable
from podium.v1 import monitoring_service_pb2 as pb
from service.cli.operation import top_command, top_live
from service.cli.operation.tool_figures import figures_of, read_breakers
from service.cli.operation.top_screen import Frame, Order

UNANSWERED = "old: the service does not answer"
NOW_US = 120_000_000


class Output(io.StringIO):
    """A terminal's output that can be waited for."""

    def __init__(self):
        super().__init__()
        self._written = asyncio.Event()

    def write(self, text):
        self._written.set()
        return super().write(text)

    async def shows(self, text):
        """Waits until the text is shown, and forgets what was shown so far."""
        async with asyncio.timeout(20):
            while text not in self.getvalue():
                self._written.clear()
                await self._written.wait()
        self.seek(0)
        self.truncate()


@pytest.fixture
def width():
    return 160


@pytest.fixture
async def output(monkeypatch, width):
    # Nothing is drawn anew on a terminal that calls itself dumb.
    monkeypatch.setenv("TERM", "xterm-256color")
    output = Output()
    console = Console(file=output, force_terminal=True, width=width, height=12)
    monkeypatch.setattr("service.cli.output.terminal", lambda: console)
    return output


@pytest.fixture
async def keys(monkeypatch):
    keys = asyncio.Queue()
    monkeypatch.setattr(top_live, "_keys", lambda: contextlib.nullcontext(keys))
    return keys


@pytest.fixture(autouse=True)
def little_patience(monkeypatch):
    monkeypatch.setattr(top_live, "LATE_S", 0.02)
    monkeypatch.setattr(top_live, "_REDRAWN_EVERY_S", 0.01)


def frame(*names):
    total = pb.StatisticsBucket(to_us=NOW_US, tools=[pb.ToolStatistics(tool=name, succeeded=1) for name in names])
    return Frame(NOW_US, 2, figures_of(pb.GetToolStatisticsResponse(total=total), NOW_US))


class Reads:
    """A service that answers a read with what it is given next, and with nothing until then."""

    def __init__(self):
        self.answers = asyncio.Queue()
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def reads():
    return Reads()


@pytest.fixture
async def shown(output, keys, reads):
    """A live view of one tool."""
    view = asyncio.ensure_future(top_live.live(frame("first"), reads, Order(), 0.01))
    await output.shows("first")
    yield view
    view.cancel()
    await asyncio.gather(view, return_exceptions=True)


async def ends(view):
    async with asyncio.timeout(20):
        await view


async def test_figures_of_a_service_that_does_not_answer_are_shown_with_their_age(shown, output, reads):
    await output.shows(f"0 s {UNANSWERED}")
    # A late answer counts: what only was slow is shown.
    reads.answers.put_nowait(frame("second"))
    await output.shows("second")


async def test_keys_are_heard_while_the_service_does_not_answer(shown, output, keys):
    await output.shows(UNANSWERED)
    keys.put_nowait("1")
    await output.shows("by tool")
    keys.put_nowait("q")
    await ends(shown)


@pytest.mark.parametrize("width", [70])
async def test_a_key_is_the_place_of_a_column_on_the_screen(shown, output, keys):
    # Beyond the last there is nothing to sort by.
    keys.put_nowait("9")
    keys.put_nowait("3")
    await output.shows("by err")


@pytest.mark.parametrize("error", [Unavailable("gone"), TimedOut("nothing was said")])
async def test_a_service_that_is_away_is_asked_again(shown, output, reads, error):
    for _ in range(2):
        reads.answers.put_nowait(error)
    await output.shows(UNANSWERED)
    reads.answers.put_nowait(frame("back"))
    await output.shows("back")
    assert reads.asked >= 3


async def test_a_refusal_ends_the_view(shown, reads):
    reads.answers.put_nowait(PermissionDenied("not you"))
    with pytest.raises(BaseExceptionGroup) as ended:
        await ends(shown)
    assert ended.group_contains(PermissionDenied)


async def test_an_interrupt_ends_the_view_while_the_service_does_not_answer(shown, output):
    await output.shows(UNANSWERED)
    shown.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ends(shown)


@pytest.mark.parametrize(("age_s", "text"), [(4.9, "4 s old"), (75, "1 min 15 s old"), (3605, "60 min 05 s old")])
def test_an_age_is_told_in_seconds_and_minutes(age_s, text):
    assert top_live.unanswered(age_s).startswith(f"{text}: ")


def test_a_problem_comes_first_so_that_a_narrow_terminal_shows_it():
    lost = replace(frame("first"), problem=top_live.unanswered(12))
    assert lost.title(Order()).startswith("12 s old: the service does not answer")


async def test_lines_for_programs_say_beside_them_that_the_service_does_not_answer(reads, monkeypatch):
    said = asyncio.Queue()
    monkeypatch.setattr("service.cli.output.note", said.put_nowait)
    asking = asyncio.ensure_future(top_command.patient(reads))
    assert "the service does not answer" in await said.get()
    reads.answers.put_nowait(TimedOut("nothing was said"))
    # By this a script tells that it may ask again.
    with pytest.raises(Unavailable):
        await ends(asking)
    reads.answers.put_nowait(frame("first"))
    await top_command.patient(reads)
    assert said.empty()


async def test_breakers_are_left_out_for_a_refusal_and_not_for_an_outage():
    class Connection:
        channel = SimpleNamespace(unary_unary=lambda *_, **__: None)

        async def call(self, method, request):
            raise self.error

    connection = Connection()
    service = SimpleNamespace(connection=connection)
    connection.error = PermissionDenied("not you")
    assert await read_breakers(service) is None
    connection.error = Unavailable("gone")
    with pytest.raises(Unavailable):
        await read_breakers(service)
