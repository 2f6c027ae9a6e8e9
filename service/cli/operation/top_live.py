"""`podium top` on a terminal: a frame that is drawn in place, and the keys that change its order.

Invariants:
- however it ends, the terminal is as it was before;
- figures that should have been followed by newer ones are never shown without their age;
- keys are heard whether the service answers or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from service.cli.operation.top_screen import COLUMNS, drawn

if TYPE_CHECKING:
    from rich.live import Live

    from service.cli.operation.top_screen import Frame, Order

LATE_S = 3.0
"""How long the service may take to answer until it is said that it does not."""
_KEYS_BYTES = 64
_REDRAWN_EVERY_S = 1.0


async def live(frame: Frame, read: Callable[[], Awaitable[Frame]], order: Order, interval_s: float) -> None:
    """Show a frame, and what is read at every interval, until q is pressed. A service that is away is asked again.

    Raises podium.PodiumError, in a group, when the service refuses.
    """
    from rich.live import Live

    from service.cli.output import terminal

    with _keys() as keys, Live(console=terminal(), auto_refresh=False, screen=True) as shown:
        screen = _Screen(shown, frame, order, interval_s + LATE_S)
        screen.draw()
        async with asyncio.TaskGroup() as tasks:
            others = (tasks.create_task(_follow(read, screen, interval_s)), tasks.create_task(_keep_drawn(screen)))
            await _steer(keys, screen)
            for other in others:
                other.cancel()


class _Screen:
    """The newest frame and when it came, drawn in an order."""

    def __init__(self, shown: Live, frame: Frame, order: Order, late_after_s: float) -> None:
        self._shown = shown
        self._order = order
        self._late_after_s = late_after_s
        self._now = asyncio.get_running_loop().time
        self.put(frame)

    def put(self, frame: Frame) -> None:
        """Draw this frame from now on."""
        self._frame, self._came_at = frame, self._now()

    def draw(self) -> None:
        """Draw the frame as it is now: with its age, if there should be a newer one."""
        age_s = self._now() - self._came_at
        frame = replace(self._frame, problem=unanswered(age_s)) if age_s > self._late_after_s else self._frame
        console = self._shown.console
        self._shown.update(drawn(frame, self._order, console.width, console.height), refresh=True)

    def choose(self, place: int) -> None:
        """Sort by the column at this place on the screen, the first is 1, if rows can be sorted by what is there."""
        columns = self._frame.fitted(self._order, self._shown.console.width).columns
        if 1 <= place <= len(columns) and columns[place - 1] in COLUMNS:
            self._order.choose(COLUMNS.index(columns[place - 1]))
            self.draw()


def unanswered(age_s: float) -> str:
    """Return how old figures are, and why."""
    # The age comes first: where a terminal is narrow the end is cut off.
    minutes, seconds = divmod(int(age_s), 60)
    age = f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
    return f"{age} old: the service does not answer"


async def _follow(read: Callable[[], Awaitable[Frame]], screen: _Screen, interval_s: float) -> None:
    """Read at every interval, again soon where there is no answer. Raises podium.PodiumError."""
    from podium import TimedOut, Unavailable

    wait_s = interval_s
    while True:
        await asyncio.sleep(wait_s)
        # How long it waits for a service that is away is the connection's to say: a read that was given up sooner would
        # never be answered by a service that is only slow.
        try:
            screen.put(await read())
        except (Unavailable, TimedOut):
            wait_s = min(interval_s, LATE_S)
        else:
            wait_s = interval_s
        screen.draw()


async def _keep_drawn(screen: _Screen) -> None:
    """Draw again now and then: an age grows, and a terminal may have become another size."""
    while True:
        await asyncio.sleep(_REDRAWN_EVERY_S)
        screen.draw()


async def _steer(keys: asyncio.Queue[str], screen: _Screen) -> None:
    """Do what the keys ask for, until q is pressed."""
    while (key := await keys.get()) != "q":
        if key.isdecimal():
            screen.choose(int(key))


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
