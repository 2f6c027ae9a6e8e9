"""`podium top` on a terminal: a frame that is drawn in place, and the keys that change its order.

Invariant: however it ends, the terminal is as it was before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from service.cli.operation.top_screen import NAMES, drawn

if TYPE_CHECKING:
    from service.cli.operation.top_screen import Frame, Order

_KEYS_BYTES = 64


async def live(read: Callable[[], Awaitable[Frame]], order: Order, interval_s: float) -> None:
    """Show what is read at every interval, until q is pressed. A service that is away is shown and asked again.

    Raises podium.PodiumError when there is nothing to begin with, or the service refuses.
    """
    from rich.live import Live

    from podium import Unavailable
    from service.cli.output import terminal

    frame = await read()
    console = terminal()
    with _keys() as keys, Live(console=console, auto_refresh=False, screen=True) as shown:

        def draw() -> None:
            shown.update(drawn(frame, order, console.height), refresh=True)

        while await _keep(draw, keys, order, interval_s):
            try:
                frame = await read()
            except Unavailable as error:
                frame = replace(frame, problem=str(error))


async def _keep(draw: Callable[[], None], keys: asyncio.Queue[str], order: Order, interval_s: float) -> bool:
    """Show a frame for an interval, in the order that is asked for meanwhile; returns whether to go on."""
    draw()
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + interval_s
    while True:
        try:
            async with asyncio.timeout_at(ends_at):
                key = await keys.get()
        except TimeoutError:
            return True
        if key == "q":
            return False
        if key.isdecimal() and 1 <= int(key) <= len(NAMES):
            order.choose(int(key) - 1)
            draw()


@contextlib.contextmanager
def _keys() -> Iterator[asyncio.Queue[str]]:
    """Hear keys as they are pressed, and do not show them, while the context is entered."""
    import termios
    import tty

    keys: asyncio.Queue[str] = asyncio.Queue()
    if not sys.stdin.isatty():
        yield keys
        return
    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()

    def hear() -> None:
        for key in os.read(descriptor, _KEYS_BYTES).decode(errors="ignore"):
            keys.put_nowait(key)

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, hear)
    try:
        yield keys
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
