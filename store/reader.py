"""Reading the log through SQLAlchemy, the same for every database.

Readers never write and never wait for the writer; each call sees one committed state.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Executable

from store.contract import (
    SHARD,
    DataKey,
    OpenWorkflow,
    PayloadMissingError,
    RecordedChunk,
    RecordedEvent,
    SignedCheckpoint,
    Snapshot,
    Tile,
)
from store.queries import (
    EXTENT,
    LAST_CHECKPOINT,
    LATEST_US,
    LIST_STREAMS,
    OPEN_WORKFLOWS,
    READ_ALL,
    READ_ATTEMPT_CHUNKS,
    READ_CHECKPOINTS,
    READ_CHUNKS,
    READ_DATA_KEYS,
    READ_PAYLOAD,
    READ_SNAPSHOT,
    READ_STREAM,
    READ_TENANT,
    READ_TILES,
    VERSION_BEFORE,
)
from store.units import is_storable
from store.verify import LogExtent, verify_log, verify_stream, verify_tenant

T = TypeVar("T")


class LogReader(ABC):
    """An EventReader. What differs between databases is how it connects, and where a read runs.

    Used without a server it is a context manager: `async with ...Reader(...) as log: ...`.
    """

    def __init__(self, *, shard: int = SHARD) -> None:
        self._shard = shard

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises SchemaMismatchError, or StoreError when there is no such log."""

    @abstractmethod
    async def close(self) -> None:
        """Let the reads that run end, and disconnect. Harmless when it is not open."""

    @abstractmethod
    async def _run(self, read: Callable[[Connection], T]) -> T:
        """Read on a connection of the database's, away from the loop."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def read_stream(
        self, tenant: str, stream_id: str, after_version: int = 0, limit: int | None = None
    ) -> list[RecordedEvent]:
        """Read a stream; see EventReader."""
        if not is_storable(stream_id):
            return []

        def read(connection: Connection) -> list[RecordedEvent]:
            statement = READ_STREAM if limit is None else READ_STREAM.limit(limit)
            rows = self._rows(connection, statement, tenant=tenant, stream_id=stream_id, after_version=after_version)
            events = [RecordedEvent(*row) for row in rows]
            verify_stream(events, self._shard, after_version)
            return events

        return await self._run(read)

    async def read_all(
        self, after_position: int = 0, limit: int = 1000, tenant: str | None = None
    ) -> list[RecordedEvent]:
        """Read the log; see EventReader."""

        def read_every(connection: Connection) -> list[RecordedEvent]:
            events = self._named(connection, READ_ALL, after_position, limit)
            verify_log(events, self._shard, after_position)
            return events

        def read_tenant(connection: Connection) -> list[RecordedEvent]:
            events = self._named(connection, READ_TENANT, after_position, limit, tenant=tenant)
            verify_tenant(events, self._shard)
            return events

        return await self._run(read_every if tenant is None else read_tenant)

    async def read_chunks(
        self, tenant: str, workflow_id: str, after_ordinal: int = 0, limit: int = 256
    ) -> list[RecordedChunk]:
        """Read a workflow's streamed output; see EventReader."""
        if not is_storable(workflow_id):
            return []

        def read(connection: Connection) -> list[RecordedChunk]:
            rows = self._rows(
                connection, READ_CHUNKS, tenant=tenant, stream_id=workflow_id, after_ordinal=after_ordinal, limit=limit
            )
            return [RecordedChunk(*row) for row in rows]

        return await self._run(read)

    async def read_attempt_chunks(
        self, tenant: str, workflow_id: str, step_id: str, attempt: int
    ) -> list[RecordedChunk]:
        """Read all chunks of an attempt; see EventReader."""
        if not (is_storable(workflow_id) and is_storable(step_id)):
            return []

        def read(connection: Connection) -> list[RecordedChunk]:
            rows = self._rows(
                connection, READ_ATTEMPT_CHUNKS, tenant=tenant, stream_id=workflow_id, step_id=step_id, attempt=attempt
            )
            return [RecordedChunk(*row) for row in rows]

        return await self._run(read)

    async def read_payload(self, tenant: str, digest: bytes) -> bytes:
        """Read a payload; see EventReader."""

        def read(connection: Connection) -> bytes:
            for (data,) in self._rows(connection, READ_PAYLOAD, tenant=tenant, digest=digest):
                return bytes(data)
            raise PayloadMissingError(f"tenant {tenant} has no payload {digest.hex()}")

        return await self._run(read)

    async def read_data_keys(self) -> list[DataKey]:
        """Read all data keys; see EventReader."""

        def read(connection: Connection) -> list[DataKey]:
            return [DataKey(*row) for row in connection.execute(READ_DATA_KEYS)]

        return await self._run(read)

    async def read_snapshot(self, tenant: str, stream_id: str) -> Snapshot | None:
        """Read a stream's snapshot; see EventReader."""

        def read(connection: Connection) -> Snapshot | None:
            for row in self._rows(connection, READ_SNAPSHOT, tenant=tenant, stream_id=stream_id):
                return Snapshot(tenant, stream_id, *row)
            return None

        return await self._run(read)

    async def read_tiles(self, level: int, first: int, count: int) -> list[Tile]:
        """Read full tiles of the Merkle tree; see EventReader."""

        def read(connection: Connection) -> list[Tile]:
            return [
                Tile(*row) for row in self._rows(connection, READ_TILES, level=level, first=first, end=first + count)
            ]

        return await self._run(read)

    async def read_checkpoints(self, after_size: int = 0, limit: int = 1000) -> list[SignedCheckpoint]:
        """Read signed checkpoints; see EventReader."""

        def read(connection: Connection) -> list[SignedCheckpoint]:
            rows = self._rows(connection, READ_CHECKPOINTS, after_size=after_size, limit=limit)
            return [SignedCheckpoint(*row) for row in rows]

        return await self._run(read)

    async def last_checkpoint(self) -> SignedCheckpoint | None:
        """Read the newest checkpoint; see EventReader."""

        def read(connection: Connection) -> SignedCheckpoint | None:
            for row in self._rows(connection, LAST_CHECKPOINT):
                return SignedCheckpoint(*row)
            return None

        return await self._run(read)

    async def open_workflows(self, due_by_us: int | None = None) -> list[OpenWorkflow]:
        """List the workflows that have not ended; see EventReader."""
        latest_us = LATEST_US if due_by_us is None else due_by_us

        def read(connection: Connection) -> list[OpenWorkflow]:
            rows = self._rows(connection, OPEN_WORKFLOWS, due_by_us=latest_us)
            return [OpenWorkflow(*row) for row in rows if None not in row[:2]]

        return await self._run(read)

    async def list_streams(self, prefix: str) -> list[tuple[str, str]]:
        """List the streams whose id begins with a prefix; see EventReader."""

        def read(connection: Connection) -> list[tuple[str, str]]:
            # The first text behind all that begin with the prefix, so that an index serves.
            end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else chr(sys.maxunicode)
            return [(tenant, name) for tenant, name in self._rows(connection, LIST_STREAMS, first=prefix, end=end)]

        return await self._run(read)

    async def stream_as_stored(self, tenant: str, stream_id: str) -> list[RecordedEvent]:
        """Read a stream's rows in order of version, whatever is missing or altered: for whoever looks for that."""

        def read(connection: Connection) -> list[RecordedEvent]:
            rows = self._rows(connection, READ_STREAM, tenant=tenant, stream_id=stream_id, after_version=0)
            return [RecordedEvent(*row) for row in rows]

        return await self._run(read)

    async def log_as_stored(self, after_position: int, limit: int) -> list[RecordedEvent]:
        """Read rows in order of position, whatever is missing or altered: for whoever looks for that."""

        def read(connection: Connection) -> list[RecordedEvent]:
            return self._named(connection, READ_ALL, after_position, limit)

        return await self._run(read)

    async def version_before(self, tenant: str, stream_id: str, position: int) -> int:
        """The version that a stream had before a position; 0: it did not exist."""

        def read(connection: Connection) -> int:
            rows = self._rows(connection, VERSION_BEFORE, tenant=tenant, stream_id=stream_id, position=position)
            return int(rows[0][0])

        return await self._run(read)

    async def read_extent(self) -> LogExtent:
        """Read how far everything goes, as it is at one moment."""

        def read(connection: Connection) -> LogExtent:
            rows = self._rows(connection, EXTENT)
            head, first_position, last_position, last_tile, checkpoint_size, _, _ = rows[0]
            sequences = {tenant: sequence for *_, tenant, sequence in rows if tenant is not None}
            return LogExtent(
                head or 0,
                1 if first_position is None else first_position,
                last_position or 0,
                0 if last_tile is None else last_tile + 1,
                checkpoint_size or 0,
                sequences,
            )

        return await self._run(read)

    def _named(
        self, connection: Connection, statement: Executable, after_position: int, limit: int, **values: object
    ) -> list[RecordedEvent]:
        """The next events that have a stream and a tenant. Whose stream was moved to another has none."""
        while rows := self._rows(connection, statement, after_position=after_position, limit=limit, **values):
            events = [RecordedEvent(*row) for row in rows if row[1] is not None and row[2] is not None]
            if events:
                return events
            after_position = rows[-1][0]
        return []

    def _rows(self, connection: Connection, statement: Executable, **values: object) -> Sequence[Any]:
        return connection.execute(statement, {"shard": self._shard, **values}).all()
