"""How full the service is, from 0 to 1, and whom it refuses then: those of low priority first, and all when it is full.

Invariant: only who comes anew is refused, before anything is done for it. What was accepted goes on, whatever the load.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence

from podium.v1 import definition_pb2
from service.domain.errors import LimitExceeded

REFUSED_FROM = {definition_pb2.PRIORITY_LOW: 0.5, definition_pb2.PRIORITY_HIGH: 1.0}
"""From which load on who comes with a priority is refused."""
NORMAL_REFUSED_FROM = 0.8
RETRY_AFTER_MS = 1_000
"""How long who is refused is asked to stay away; up to as much again by chance, so that not all are back at once."""

_FULL_LAG_S = 1.0
"""When the loop is so late with what it was to do, it is full."""
_SMOOTHED_OVER_S = 0.3
_LOOK_EVERY_S = 0.1
_CLOSE = 0.005

Source = Callable[[], float]
"""How full a part of the service is: 0 empty, 1 full."""


class LoopLag:
    """How late the event loop is."""

    def __init__(self) -> None:
        self.late_s = 0.0

    def __call__(self) -> float:
        """See Source."""
        return self.late_s / _FULL_LAG_S


class MemoryFill:
    """How full the memory is that the service may use: nothing below 60 percent of it counts as load.

    Without a bound it is never full.
    """

    _FREE_PART = 0.6

    def __init__(self, limit_bytes: int, used_bytes: Callable[[], int]) -> None:
        """`limit_bytes` is 0 where there is no bound."""
        self.limit_bytes = limit_bytes
        self.used_bytes = used_bytes

    def __call__(self) -> float:
        """See Source."""
        if not self.limit_bytes:
            return 0.0
        used = self.used_bytes() / self.limit_bytes
        return max(0.0, (used - self._FREE_PART) / (1 - self._FREE_PART))


class Load:
    """The load of the service: that of its fullest part, looked at many times a second."""

    def __init__(self, sources: Sequence[Source], chance: Callable[[], float]) -> None:
        """`chance` is a random number in [0, 1)."""
        self._sources = tuple(sources)
        self._chance = chance
        self.level = 0.0
        """0 to 1, as of the last look."""

    def look(self, since_s: float) -> float:
        """Ask all parts how full they are, so long after the last time.

        What lasts for a moment only, as one long turn, a large group of appends or a process that was stopped, is no
        load: it is smoothed, and one look counts as one, however late it comes.
        """
        since_s = min(since_s, 2 * _LOOK_EVERY_S)
        fullest = min(1.0, max((source() for source in self._sources), default=0.0))
        self.level += (fullest - self.level) * (1 - math.exp(-since_s / _SMOOTHED_OVER_S))
        if abs(fullest - self.level) < _CLOSE:
            # Else what is full would never be called so.
            self.level = fullest
        return self.level

    def admit(self, priority: int) -> None:
        """Raise LimitExceeded for who comes anew with a priority that the load leaves no room for."""
        refused_from = REFUSED_FROM.get(priority, NORMAL_REFUSED_FROM)  # type: ignore[call-overload]  # the stubs want their NewType
        if self.level >= refused_from:
            after_ms = int(RETRY_AFTER_MS * (1 + self._chance()))
            message = f"the service is {self.level:.0%} full and takes no more work of this priority now"
            raise LimitExceeded("OVERLOADED", message, retry_after_ms=after_ms)


async def keep_looking(load: Load, lag: LoopLag) -> AsyncIterator[float]:
    """Look at the load, again and again; the level of each time."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        now = loop.time()
        lag.late_s = max(0.0, now - before - _LOOK_EVERY_S)
        yield load.look(now - before)
        before = now
