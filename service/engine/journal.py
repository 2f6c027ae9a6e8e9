"""Appends to streams that are a record of what happened, whatever their version: nothing is decided from it."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from google.protobuf.message import Message

from service.engine.resident import Cause
from store.contract import SHARD, Append, EventStore, NewEvent, RecordedEvent, StreamAppend, StreamConflictError
from store.records import encode_envelope


class Journal:
    """Appends one event after the other to each stream. Nobody else may append to the streams it is used for."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._versions: dict[tuple[str, str], int] = {}
        self._writing: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def record(self, tenant: str, stream_id: str, payload: Message, cause: Cause | None = None) -> RecordedEvent:
        """Append an event and wait until it is durable. Raises StoreError."""
        envelope = encode_envelope(
            shard=SHARD,
            tenant=tenant,
            stream_id=stream_id,
            principal=cause.principal if cause is not None else None,
            request_id=cause.request_id if cause is not None else "",
        )
        stream, event = (tenant, stream_id), NewEvent(payload, envelope)
        async with self._writing[stream]:
            version = self._versions.get(stream, 0)
            try:
                recorded = await self._append(stream, version, event)
            except StreamConflictError as conflict:
                # How long the stream is need not be known before: the store says so.
                recorded = await self._append(stream, conflict.actual, event)
            self._versions[stream] = recorded.stream_version
        return recorded

    async def _append(self, stream: tuple[str, str], version: int, event: NewEvent) -> RecordedEvent:
        committed = await self._store.append(Append((StreamAppend(*stream, version, [event]),)))
        return committed.events[0]
