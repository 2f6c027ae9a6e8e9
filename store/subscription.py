"""Following the log: what is stored first, then what commits, every event once and in order.

The newest events stay in memory, so that those who follow closely never ask the database; who falls behind that
reads the database until it has caught up, so nothing is skipped and no follower holds memory of its own.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from typing import Self

from store.contract import CursorAheadError, EventReader, RecordedEvent, StoreClosedError, SubscriptionBatch

BATCH_EVENTS = 500
"""Events a batch holds at most, where it is read from the database or goes to a follower of one tenant."""
WHOLE_BATCH_EVENTS = 1000
"""Events a batch from memory holds at most for a follower of all tenants: such a one writes them in one transaction."""


class _Group:
    """What one group commit recorded."""

    def __init__(self, events: Sequence[RecordedEvent]) -> None:
        self.events = events
        self.first = events[0].position
        self.last = events[-1].position
        self.data_bytes = sum([len(event.record) for event in events])

    @cached_property
    def by_tenant(self) -> dict[str, list[RecordedEvent]]:
        split: dict[str, list[RecordedEvent]] = {}
        for event in self.events:
            split.setdefault(event.tenant, []).append(event)
        return split

    def of(self, tenant: str | None) -> Sequence[RecordedEvent]:
        return self.events if tenant is None else self.by_tenant.get(tenant, ())


class Tail:
    """The newest committed events of a shard, and who waits for the next. Bounded in events and in bytes."""

    def __init__(
        self, head: int, *, max_events: int = 16_384, max_bytes: int = 16 << 20, report_every: int = 1_000
    ) -> None:
        """`report_every`: after how many positions one whose tenant is idle hears how far the log has come."""
        self.head = head
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._report_every = report_every
        self._groups: list[_Group] = []
        self._lasts: list[int] = []
        self._floor = head
        self._data_bytes = 0
        self._waiting: dict[str | None, dict[asyncio.Future[int], None]] = {}
        self._shared: dict[tuple[int, str | None], SubscriptionBatch] = {}
        self._is_closed = False

    def publish(self, events: Sequence[RecordedEvent]) -> None:
        """Take in what a group commit recorded, and wake those whom it concerns."""
        before = self.head
        group = _Group(events)
        self.head = group.last
        self._shared.clear()
        self._groups.append(group)
        self._lasts.append(group.last)
        self._data_bytes += group.data_bytes
        self._trim()
        if not self._waiting:
            return
        self._wake(None, before)
        for concerned in [tenant for tenant in self._waiting if tenant in group.by_tenant]:
            self._wake(concerned, before)
        if self.head // self._report_every != before // self._report_every:
            for idle in list(self._waiting):
                self._wake(idle, self.head)

    def close(self) -> None:
        """Wake everyone; `require_open` then tells them."""
        self._is_closed = True
        for tenant in list(self._waiting):
            self._wake(tenant, self.head)

    def require_open(self) -> None:
        """Raise StoreClosedError when nothing will be published any more."""
        if self._is_closed:
            raise StoreClosedError("the store was closed")

    def since(self, position: int, tenant: str | None) -> SubscriptionBatch | None:
        """The batch after a position; None: it reaches back further than the memory does."""
        if position >= self.head:
            return SubscriptionBatch((), position, caught_up=True)
        if position < self._floor:
            return None
        # A thousand who follow closely share one batch.
        batch = self._shared.get((position, tenant))
        if batch is None:
            batch = self._shared[position, tenant] = self._assemble(position, tenant)
        return batch

    async def wait(self, tenant: str | None) -> int:
        """Wait for the next event, of a tenant or of any. Returns a position up to which there was none."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(tenant, {})
        waiting[future] = None
        try:
            return await future
        finally:
            waiting.pop(future, None)
            if not waiting and self._waiting.get(tenant) is waiting:
                del self._waiting[tenant]

    def _assemble(self, position: int, tenant: str | None) -> SubscriptionBatch:
        limit = WHOLE_BATCH_EVENTS if tenant is None else BATCH_EVENTS
        index = bisect_right(self._lasts, position)
        group = self._groups[index]
        events = group.of(tenant)
        if group.first <= position:
            events = [event for event in events if event.position > position]
        reached = group.last
        if index + 1 < len(self._groups) and len(events) < limit:
            events = list(events)
            for group in islice(self._groups, index + 1, None):
                events.extend(group.of(tenant))
                reached = group.last
                if len(events) >= limit:
                    break
        if len(events) > limit:
            events = events[:limit]
            reached = events[-1].position
        return SubscriptionBatch(events, reached, caught_up=reached == self.head)

    def _trim(self) -> None:
        dropped = 0
        while dropped < len(self._groups) and (
            self.head - self._floor > self._max_events or self._data_bytes > self._max_bytes
        ):
            group = self._groups[dropped]
            self._floor = group.last
            self._data_bytes -= group.data_bytes
            dropped += 1
        if dropped:
            del self._groups[:dropped], self._lasts[:dropped]

    def _wake(self, tenant: str | None, nothing_until: int) -> None:
        for future in self._waiting.pop(tenant, ()):
            if not future.done():
                future.set_result(nothing_until)


class Subscription:
    """One follower. An asynchronous iterator without an end, until the store closes."""

    def __init__(self, reader: EventReader, tail: Tail, after_position: int, tenant: str | None) -> None:
        self._reader = reader
        self._tail = tail
        self._position = after_position
        self._tenant = tenant
        self._is_started = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SubscriptionBatch:
        """The next batch; see EventStore.subscribe."""
        self._tail.require_open()
        if not self._is_started:
            await self._start()
        elif self._position >= self._tail.head:
            nothing_until = await self._tail.wait(self._tenant)
            self._tail.require_open()
            self._position = max(self._position, nothing_until)
        batch = self._tail.since(self._position, self._tenant)
        if batch is None:
            batch = await self._read()
        self._position = batch.position
        return batch

    async def _start(self) -> None:
        # A reader may have seen a commit before this process was told of it, so the database is asked.
        if self._position > self._tail.head and not await self._reader.read_all(self._position - 1, 1):
            raise CursorAheadError(f"position {self._position} is beyond the log, which ends at {self._tail.head}")
        self._is_started = True

    async def _read(self) -> SubscriptionBatch:
        # When fewer come back than were asked for, that was all up to the head as it was before.
        reached = self._tail.head
        events = await self._reader.read_all(self._position, BATCH_EVENTS, self._tenant)
        if len(events) == BATCH_EVENTS:
            reached = events[-1].position
        elif events:
            reached = max(reached, events[-1].position)
        return SubscriptionBatch(events, reached, caught_up=reached >= self._tail.head)
