"""Appends to streams that are a record of what happened, whatever their version: nothing is decided from it.

Invariant: what follows from an event happens in its commit's own callback. Once an event is submitted no cancelled
request can take it back, nor keep from memory what the log has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from google.protobuf.message import Message

from service.engine.resident import Cause
from store.contract import (
    ANY_VERSION,
    SHARD,
    Append,
    Committed,
    EventStore,
    NewEvent,
    RecordedEvent,
    StoreError,
    StreamAppend,
)
from store.records import encode_envelope

Fold = Callable[[RecordedEvent], None]


class Journal:
    """Appends events to streams, in the order in which they are submitted."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def submit(
        self, tenant: str, stream_id: str, payload: Message, cause: Cause | None = None, fold: Fold | None = None
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
            trace_context=cause.trace_context if cause is not None else "",
        )
        settled: asyncio.Future[RecordedEvent] = asyncio.get_running_loop().create_future()

        def done(outcome: Committed | StoreError) -> None:
            # Whoever waited may be gone.
            if isinstance(outcome, StoreError):
                if not settled.done():
                    settled.set_exception(outcome)
                return
            [recorded] = outcome.events
            if fold is not None:
                fold(recorded)
            if not settled.done():
                settled.set_result(recorded)

        stream = StreamAppend(tenant, stream_id, ANY_VERSION, [NewEvent(payload, envelope)])
        self._store.submit(Append((stream,)), done)
        return settled

    async def record(
        self, tenant: str, stream_id: str, payload: Message, cause: Cause | None = None, fold: Fold | None = None
    ) -> RecordedEvent:
        """Append an event as `submit` does, and wait until it is durable. Raises StoreError."""
        return await self.submit(tenant, stream_id, payload, cause, fold)
