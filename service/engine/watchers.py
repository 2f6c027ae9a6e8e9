"""Watchers of workflows: told what became durable, in order, with nothing skipped.

A watcher that falls behind is not fed from memory any more; it reads what it missed from the log and joins again.
"""

from __future__ import annotations

import asyncio
from collections import deque

from podium.v1 import workflow_service_pb2
from service.engine.keys import WorkflowKey
from store.contract import RecordedChunk, RecordedEvent

WatchedItem = RecordedEvent | RecordedChunk | workflow_service_pb2.AttemptProgress


class Watcher:
    """One watcher's queue."""

    __slots__ = ("_limit", "_wake", "items", "overflowed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.items: deque[WatchedItem] = deque()
        self.overflowed = False
        self._wake = asyncio.Event()

    def push(self, item: WatchedItem) -> None:
        """Add an item, or note that there is no room for it."""
        if len(self.items) >= self._limit:
            self.items.clear()
            self.overflowed = True
        elif not self.overflowed:
            self.items.append(item)
        self._wake.set()

    async def wait(self) -> None:
        """Wait until there is something to take."""
        await self._wake.wait()

    def take(self) -> tuple[list[WatchedItem], bool]:
        """Take everything, and whether something was lost since the last take."""
        self._wake.clear()
        taken = list(self.items)
        self.items.clear()
        overflowed, self.overflowed = self.overflowed, False
        return taken, overflowed


class Watchers:
    """Who watches what."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        """Items a watcher may be behind before it reads from the log again."""
        self._watchers: dict[WorkflowKey, dict[Watcher, None]] = {}
        """In the order in which they came, so that they are told in the same order every time."""

    def add(self, key: WorkflowKey) -> Watcher:
        """Begin to watch."""
        watcher = Watcher(self._limit)
        self._watchers.setdefault(key, {})[watcher] = None
        return watcher

    def remove(self, key: WorkflowKey, watcher: Watcher) -> None:
        """Stop watching."""
        watchers = self._watchers.get(key, {})
        watchers.pop(watcher, None)
        if not watchers:
            self._watchers.pop(key, None)

    def publish(self, key: WorkflowKey, item: WatchedItem) -> None:
        """Tell all watchers of a workflow. Called only for what is durable (or, for progress, never will be)."""
        for watcher in self._watchers.get(key, ()):
            watcher.push(item)

    def watched(self, key: WorkflowKey) -> bool:
        """Whether anyone watches the workflow."""
        return key in self._watchers
