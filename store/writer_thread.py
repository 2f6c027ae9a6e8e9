"""One thread that runs what blocks, one call after the other, and tidies up when it has been quiet."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
V = TypeVar("V")


class WriterThread:
    """Runs calls in order, away from the event loop. A call that was made runs, whoever stops waiting for it.

    An executor of the standard library does the same with twice the overhead a call, and knows no quiet.
    """

    def __init__(self, name: str, on_quiet: Callable[[], None], *, quiet_s: float) -> None:
        """`on_quiet` runs on the thread after `quiet_s` seconds without a call, once after each that was."""
        self._on_quiet = on_quiet
        self._quiet_s = quiet_s
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        # A daemon: a process whose loop has died must be able to exit without this thread's consent.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Run a call after those that wait, and return the future of its result."""
        future: asyncio.Future[T] = self._loop.create_future()

        def work() -> None:
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                self._deliver(future, future.set_exception, error)
            else:
                self._deliver(future, future.set_result, result)

        self._calls.put(work)
        return future

    def post(self, call: Callable[[], None]) -> None:
        """Run a call, which must not raise, after those that wait. Nobody is told when it has run."""
        self._calls.put(call)

    async def stop(self) -> None:
        """End the thread after the calls that wait."""
        self._calls.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def _deliver(self, future: asyncio.Future[T], settle: Callable[[V], None], outcome: V) -> None:
        # The loop may have gone while the call ran, and with it whoever waited.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_settle, future, settle, outcome)

    def _work(self) -> None:
        has_worked = False
        while True:
            try:
                call = self._calls.get(timeout=self._quiet_s if has_worked else None)
            except Empty:
                self._on_quiet()
                has_worked = False
                continue
            if call is None:
                return
            call()
            has_worked = True


def _settle(future: asyncio.Future[T], settle: Callable[[V], None], outcome: V) -> None:
    if not future.cancelled():
        settle(outcome)
