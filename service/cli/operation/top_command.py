"""`podium top`: a live dashboard of what the tools do.

On a terminal it is drawn in place until q is pressed. Anywhere else one frame is printed, or with --json a line at
every interval.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from service.cli.connecting import Service
    from service.cli.operation.top_screen import Frame, Order

EXAMPLE = example(
    "podium top",
    "podium top --window 1h --sort p99",
    "podium top --once --json | jq '.tools[] | select(.errors_percent > 10) | .tool'",
)
TREND_STRETCHES = 20
MINUTE_US = 60_000_000


def top(
    *,
    window: Annotated[str, typer.Option(metavar="DURATION", help="Of how long the figures are.")] = "15m",
    interval: Annotated[float, typer.Option(metavar="SECONDS", min=0.2, help="How often they are read.")] = 2.0,
    sort: Annotated[str, typer.Option(metavar="COLUMN", help="Sort by this column.")] = "calls",
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show what the tools do: calls, errors, latencies, queues, cache hits, breakers, and the trend of calls.

    Calls count in the minute in which they ended. Without a terminal one frame is printed, or with --json a line at
    every interval.
    """
    from service.cli.connecting import with_service
    from service.cli.moments import minutes_option
    from service.cli.operation.top_live import live
    from service.cli.operation.top_screen import NAMES, Order
    from service.cli.output import terminal

    if sort not in NAMES:
        message = f"--sort {sort} is no column; there are {', '.join(NAMES)}"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT")
    minutes, order = minutes_option(window, "--window"), Order(NAMES.index(sort))
    console = terminal()
    is_live = console.is_terminal and not console.is_dumb_terminal and not once and not as_json

    async def show(service: Service) -> None:
        reader = _Reader(service, minutes)
        if is_live:
            await live(await patient(reader.read), reader.read, order, interval)
        elif as_json:
            await _lines(reader.read, interval, once=once)
        else:
            _print(await patient(reader.read), order)

    try:
        with_service(address, token, show)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


class _Reader:
    """Reads frames."""

    def __init__(self, service: Service, minutes: int) -> None:
        self._service = service
        self._minutes = minutes
        self._may_know_breakers = True

    async def read(self) -> Frame:
        """Read what is now. Raises podium.PodiumError."""
        from podium.v1 import monitoring_service_pb2 as pb
        from service.cli.operation.tool_figures import figures_of, read_breakers, read_statistics
        from service.cli.operation.top_screen import Frame
        from service.clock import SystemClock

        now_us = SystemClock().now_us()
        stretch = -(-self._minutes // TREND_STRETCHES)
        # The minute that has begun is the last of the window.
        request = pb.GetToolStatisticsRequest(from_us=now_us - (self._minutes - 1) * MINUTE_US, bucket_minutes=stretch)
        answer = await read_statistics(self._service, request)
        breakers = await read_breakers(self._service) if self._may_know_breakers else None
        # Each refusal is on record, so it is asked for once.
        self._may_know_breakers = breakers is not None
        return Frame(now_us, self._minutes, figures_of(answer, now_us, breakers))


def _print(frame: Frame, order: Order) -> None:
    """Print a frame: as wide as the terminal or as COLUMNS says; anywhere else it is as wide as it needs."""
    from service.cli.operation.top_screen import drawn
    from service.cli.output import say, table, terminal

    console = terminal()
    if console.is_terminal:
        console.print(drawn(frame, order, console.width))
        return
    width = shutil.get_terminal_size((0, 0)).columns
    fitted = frame.fitted(order, width)
    say(frame.title(order, width))
    table([column.name for column in fitted.columns], fitted.cells)


async def _lines(read: Callable[[], Awaitable[Frame]], interval_s: float, *, once: bool) -> None:
    from service.cli.output import print_json

    while True:
        print_json((await patient(read)).as_dict())
        if once:
            return
        await asyncio.sleep(interval_s)


async def patient(read: Callable[[], Awaitable[Frame]]) -> Frame:
    """Read a frame, and say meanwhile if the service does not answer. Raises podium.PodiumError."""
    from podium import TimedOut, Unavailable
    from service.cli.operation.top_live import LATE_S
    from service.cli.output import note

    waiting = "the service does not answer; it is asked for half a minute"
    late = asyncio.get_running_loop().call_later(LATE_S, note, waiting)
    try:
        return await read()
    except TimedOut as error:
        # A service that took the request and says nothing is as far away as one that is not there.
        raise Unavailable("the service did not answer in time") from error
    finally:
        late.cancel()
