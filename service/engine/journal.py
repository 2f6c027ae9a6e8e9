"""Appends to streams that are a record of what happened, whatever their version: nothing is decided from it.

Invariant: what follows from an event happens in its commit's own callback. Once an event is submitted no cancelled
request can take it back, nor keep from memory what the log has.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from typing import NamedTuple

from google.protobuf.message import Message

from service.engine.resident import Cause
from store.contract import (
    SHARD,
    Append,
    Committed,
    EventStore,
    NewEvent,
    RecordedEvent,
    StoreError,
    StreamAppend,
    StreamConflictError,
)
from store.records import encode_envelope

_Stream = tuple[str, str]


class _Entry(NamedTuple):
    """An event on its way."""

    event: NewEvent
    fold: Callable[[RecordedEvent], None] | None
    settled: asyncio.Future[RecordedEvent]


class Journal:
    """Appends one event after the other to each stream. Nobody else may append to the streams it is used for."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._versions: dict[_Stream, int] = {}
        self._waiting: defaultdict[_Stream, deque[_Entry]] = defaultdict(deque)
        """What is not settled, by stream. The first of each is with the store."""

    def submit(
        self,
        tenant: str,
        stream_id: str,
        payload: Message,
        cause: Cause | None = None,
        fold: Callable[[RecordedEvent], None] | None = None,
    ) -> asyncio.Future[RecordedEvent]:
        """Append an event. `fold` is called with it once it is durable, whoever still waits; it must not raise.

        What is returned raises StoreError, and may be canceled without any effect on the event.
        """
        envelope = encode_envelope(
            shard=SHARD,
            tenant=tenant,
            stream_id=stream_id,
            principal=cause.principal if cause is not None else None,
            request_id=cause.request_id if cause is not None else "",
        )
        settled: asyncio.Future[RecordedEvent] = asyncio.get_running_loop().create_future()
        waiting = self._waiting[tenant, stream_id]
        waiting.append(_Entry(NewEvent(payload, envelope), fold, settled))
        if len(waiting) == 1:
            self._append((tenant, stream_id), self._versions.get((tenant, stream_id), 0))
        return settled

    async def record(
        self,
        tenant: str,
        stream_id: str,
        payload: Message,
        cause: Cause | None = None,
        fold: Callable[[RecordedEvent], None] | None = None,
    ) -> RecordedEvent:
        """Append an event as `submit` does, and wait until it is durable. Raises StoreError."""
        return await self.submit(tenant, stream_id, payload, cause, fold)

    def _append(self, stream: _Stream, version: int, *, again: bool = False) -> None:
        """Give the store the first event that waits."""

        def done(outcome: Committed | StoreError) -> None:
            if isinstance(outcome, StreamConflictError) and not again:
                # How long the stream is need not be known before: the store says so.
                self._append(stream, outcome.actual, again=True)
            else:
                self._settle(stream, outcome)

        event = self._waiting[stream][0].event
        self._store.submit(Append((StreamAppend(*stream, version, [event]),)), done)

    def _settle(self, stream: _Stream, outcome: Committed | StoreError) -> None:
        waiting = self._waiting[stream]
        _, fold, settled = waiting.popleft()
        if isinstance(outcome, StoreError):
            # Whoever waited may be gone.
            if not settled.done():
                settled.set_exception(outcome)
        else:
            [recorded] = outcome.events
            self._versions[stream] = recorded.stream_version
            if fold is not None:
                fold(recorded)
            if not settled.done():
                settled.set_result(recorded)
        if waiting:
            self._append(stream, self._versions.get(stream, 0))
        else:
            del self._waiting[stream]
