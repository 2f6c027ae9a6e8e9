"""What one session has to send, gathered into frames.

A stream message costs far more than an item in it, so everything that was put in since the last frame goes out as the
next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable

from podium.v1 import executor_service_pb2

FRAME_MAX_BYTES = 1024 * 1024


class Outbox:
    """Items in their order. The newest progress and heartbeat of an attempt stand for the earlier ones."""

    def __init__(self) -> None:
        self._items: deque[tuple[executor_service_pb2.ExecutorItem, int]] = deque()
        self._newest: dict[Hashable, executor_service_pb2.ExecutorItem] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, item: executor_service_pb2.ExecutorItem, size_bytes: int = 0) -> None:
        """Appends an item; `size_bytes` is what its data weighs, where it weighs anything."""
        self._items.append((item, size_bytes))
        self._changed.set()

    def put_newest(self, key: Hashable, item: executor_service_pb2.ExecutorItem) -> None:
        """Sends `item` with the next frame, in place of an unsent one with the same key."""
        self._newest[key] = item
        self._changed.set()

    def close(self) -> None:
        """Ends the session once everything is sent."""
        self._closed = True
        self._changed.set()

    async def next_frame(self) -> executor_service_pb2.SessionRequest | None:
        """Waits for something to send and returns all of it, at most about a mebibyte; None when the session is to end.

        Whoever waits wakes in the next turn of the loop: what is said in the rest of this one goes out with it.
        """
        if not (self._items or self._newest or self._closed):
            self._changed.clear()
            await self._changed.wait()
        if not (self._items or self._newest):
            return None
        # Progress first: it must not come after the outcome that ends it.
        frame = executor_service_pb2.SessionRequest()
        frame.items.extend(self._newest.values())
        self._newest.clear()
        size_bytes = 0
        while self._items and size_bytes < FRAME_MAX_BYTES:
            item, item_bytes = self._items.popleft()
            frame.items.append(item)
            size_bytes += item_bytes
        return frame
