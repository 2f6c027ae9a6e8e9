"""One heap of timers for all workflows. A timer only says when to look; what to do is decided from the state."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)


class Clock(Protocol):
    """The engine's time."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""


class Timers(Generic[K]):
    """Calls `fire(key)` once the time set for a key has come. Setting an earlier time replaces a later one."""

    def __init__(self, clock: Clock, fire: Callable[[K], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._heap: list[tuple[int, int, K]] = []
        self._set: dict[K, int] = {}
        self._order = 0
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at_us = 0

    def __len__(self) -> int:
        return len(self._set)

    def set(self, key: K, at_us: int) -> None:
        """Fire for the key at this time, microseconds since the Unix epoch, unless an earlier time is set."""
        current = self._set.get(key)
        if current is not None and current <= at_us:
            return
        self._set[key] = at_us
        self._order += 1
        heapq.heappush(self._heap, (at_us, self._order, key))
        self._arm()

    def due_at_us(self, key: K) -> int | None:
        """When the key fires; None: it does not."""
        return self._set.get(key)

    def clear(self, key: K) -> None:
        """Forget the key."""
        self._set.pop(key, None)

    def close(self) -> None:
        """Fire no more."""
        self._set.clear()
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        if not self._heap:
            return
        first = self._heap[0][0]
        if self._handle is not None:
            if self._handle_at_us <= first:
                return
            self._handle.cancel()
        delay_s = max(0, first - self._clock.now_us()) / 1_000_000
        self._handle_at_us = first
        self._handle = asyncio.get_running_loop().call_later(delay_s, self._run)

    def _run(self) -> None:
        self._handle = None
        now = self._clock.now_us()
        while self._heap and self._heap[0][0] <= now:
            at_us, _, key = heapq.heappop(self._heap)
            # An entry that was replaced or cleared stays in the heap until its time.
            if self._set.get(key) == at_us:
                del self._set[key]
                self._fire(key)
        self._arm()
