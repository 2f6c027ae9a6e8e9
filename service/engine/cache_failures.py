"""The record of a cache that fails: the first failure at once, and what follows counted, so that it fills no log.

A window stays open for as long as failures go on, and costs one event each time it is over. Nobody waits for the
record: a cache that fails is a miss.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from podium.v1 import events_pb2
from service.engine.cache_invalidations import STREAM_ID
from service.engine.journal import Journal
from service.engine.timers import Clock, Timers
from store.contract import RecordedEvent

WINDOW_US = 60_000_000
FLUSH_S = 5.0
READ, WRITE = "READ", "WRITE"


class _Kind(NamedTuple):
    """What is counted together."""

    tenant: str
    operation: str


class _Window:
    """Failures of a kind that are not recorded yet."""

    __slots__ = ("count", "first_at_us", "problem")

    def __init__(self) -> None:
        self.count = 0
        self.first_at_us = 0
        self.problem = ""

    def add(self, count: int, first_at_us: int, problem: str) -> None:
        if not self.count or first_at_us < self.first_at_us:
            self.first_at_us = first_at_us
        self.count += count
        self.problem = problem


class CacheFailures:
    """Records failures in the stream `cache` of the tenants whose calls found them."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._windows: dict[_Kind, _Window] = {}
        self._ends: Timers[_Kind] = Timers(clock, self._over)
        self._writing: set[asyncio.Future[RecordedEvent]] = set()

    def note(self, tenant: str, operation: str, problem: str) -> None:
        """The cache could not be read or written; `problem` holds no value and no credentials."""
        kind, now_us = _Kind(tenant, operation), self._clock.now_us()
        window = self._windows.get(kind)
        if window is not None:
            window.add(1, now_us, problem)
            return
        window = self._windows[kind] = _Window()
        window.add(1, now_us, problem)
        self._ends.set(kind, now_us + WINDOW_US)
        self._write(kind, window)

    async def flush(self) -> None:
        """Record what was only counted so far, within a bounded time."""
        self._ends.close()
        for kind, window in self._windows.items():
            if window.count:
                self._write(kind, window)
        if self._writing:
            await asyncio.wait(self._writing, timeout=FLUSH_S)

    def _over(self, kind: _Kind) -> None:
        window = self._windows[kind]
        if not window.count:
            del self._windows[kind]
            return
        self._ends.set(kind, self._clock.now_us() + WINDOW_US)
        self._write(kind, window)

    def _write(self, kind: _Kind, window: _Window) -> None:
        event = events_pb2.CacheFailed(
            operation=kind.operation, problem=window.problem, count=window.count, first_at_us=window.first_at_us
        )
        window.count = 0
        recording = self._journal.submit(kind.tenant, STREAM_ID, event)
        self._writing.add(recording)

        def done(recorded: asyncio.Future[RecordedEvent]) -> None:
            self._writing.discard(recorded)
            if not recorded.cancelled() and recorded.exception() is not None:
                # It is counted with those that follow.
                window.add(event.count, event.first_at_us, event.problem)

        recording.add_done_callback(done)
