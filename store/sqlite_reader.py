"""Reading the log of a SQLite file: of a running server, of none, or of a copy.

Readers never write, never checkpoint and never wait for the writer; each call sees one committed state.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, Executable
from sqlalchemy.exc import DBAPIError

from store.contract import (
    SHARD,
    DataKey,
    OpenWorkflow,
    PayloadMissingError,
    RecordedChunk,
    RecordedEvent,
    StoreClosedError,
    StoreError,
)
from store.migrate import require_current
from store.queries import (
    LIST_STREAMS,
    OPEN_WORKFLOWS,
    READ_ALL,
    READ_ATTEMPT_CHUNKS,
    READ_CHUNKS,
    READ_DATA_KEYS,
    READ_PAYLOAD,
    READ_STREAM,
    READ_TENANT,
)
from store.sqlite_engine import read_engine
from store.verify import verify_log, verify_stream, verify_tenant

T = TypeVar("T")


class SqliteReader:
    """An EventReader over a file, with a few connections on threads of their own. Takes no lock.

    Used without a server it is a context manager: `async with SqliteReader(path) as log: ...`.
    """

    def __init__(self, path: Path, *, shard: int = SHARD, connections: int = 2) -> None:
        self._path = path
        self._shard = shard
        self._connections = connections
        self._engine: Engine | None = None
        self._threads: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Open the file. Raises SchemaMismatchError, or StoreError when there is no such log."""
        if not self._path.is_file():
            raise StoreError(f"there is no database at {self._path}")
        self._engine = read_engine(self._path, connections=self._connections)
        self._threads = ThreadPoolExecutor(self._connections, thread_name_prefix="log-reader")
        try:
            await self._run(require_current)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let the reads that run end, and close the connections. Harmless when it is not open."""
        threads, self._threads = self._threads, None
        engine, self._engine = self._engine, None
        if threads is not None:
            await asyncio.get_running_loop().run_in_executor(None, threads.shutdown)
        if engine is not None:
            engine.dispose()

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
            rows = self._rows(connection, READ_ALL, after_position=after_position, limit=limit)
            events = [RecordedEvent(*row) for row in rows]
            verify_log(events, self._shard, after_position)
            return events

        def read_tenant(connection: Connection) -> list[RecordedEvent]:
            rows = self._rows(connection, READ_TENANT, tenant=tenant, after_position=after_position, limit=limit)
            events = [RecordedEvent(*row) for row in rows]
            verify_tenant(events, self._shard)
            return events

        return await self._run(read_every if tenant is None else read_tenant)

    async def read_chunks(
        self, tenant: str, workflow_id: str, after_ordinal: int = 0, limit: int = 256
    ) -> list[RecordedChunk]:
        """Read a workflow's streamed output; see EventReader."""

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

    async def open_workflows(self) -> list[OpenWorkflow]:
        """List the workflows that have not ended; see EventReader."""

        def read(connection: Connection) -> list[OpenWorkflow]:
            return [OpenWorkflow(*row) for row in self._rows(connection, OPEN_WORKFLOWS)]

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

    def _rows(self, connection: Connection, statement: Executable, **values: object) -> Sequence[Any]:
        return connection.execute(statement, {"shard": self._shard, **values}).all()

    async def _run(self, read: Callable[[Connection], T]) -> T:
        engine, threads = self._engine, self._threads
        if engine is None or threads is None:
            raise StoreClosedError("the log is not open")

        def work() -> T:
            try:
                with engine.connect() as connection:
                    return read(connection)
            except DBAPIError as error:
                raise StoreError(f"cannot read {self._path}: {error.orig}") from error

        return await asyncio.get_running_loop().run_in_executor(threads, work)
