"""SIGTERM and SIGINT: the first asks the service to end in order, the second to hurry; and no end takes for ever."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager

CLOSING_S = 6.0
"""How long closing may take after draining: the last checkpoint and the last group commits, on a disk that answers."""


class GivenUp(Exception):
    """The service was to stop before it served."""


class StopSignals:
    """Whether the service shall stop, and whether at once."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self._beginning: asyncio.Task[object] | None = None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked)

    def _asked(self) -> None:
        if self.stop.is_set():
            self.hurry.set()
            self.end_within(0.0)
        self.stop.set()
        if self._beginning is not None:
            self.end_within(0.0)
            self._beginning.cancel()

    @contextmanager
    def giving_up(self) -> Generator[None, None, None]:
        """What is done in the block is canceled when the service shall stop. Raises GivenUp then."""
        self._beginning = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            if not self.stop.is_set():
                raise
            raise GivenUp from None
        finally:
            self._beginning = None
        if self.stop.is_set():
            raise GivenUp

    @staticmethod
    def end_within(drain_s: float) -> None:
        """Have the system end the process when it has not ended in this time and what closing may take.

        By an alarm, because nothing else ends a process whose loop hangs. It is never taken off: at its very end Python
        waits for threads, and one of them can hang too. Nothing is lost by it: what was acknowledged is durable.
        """
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, drain_s + CLOSING_S)
