"""The log in a SQLite file: the backend of the writer, and how a whole store is put together on it.

One process owns the file, by the lock beside it; one connection writes, on one thread. After an error in a commit
the connection is not used for another: the file is opened again, checkpointed, and then served.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from store.backend import Batch, Cold, LookedUp, OnLost, OnPoint, ShardState, StreamState, TenantState
from store.contract import SHARD, Clock, OwnershipLostError, StoreClosedError, StoreError
from store.event_log import EventLog
from store.limits import StoreLimits
from store.lockfile import LockFile
from store.migrate import require_current
from store.queries import LAST_RECORDED_AT, LAST_STREAM_KEY, TENANTS
from store.sqlite_engine import write_engine
from store.sqlite_reader import SqliteReader
from store.writer_thread import WriterThread

_logger = logging.getLogger(__name__)

_CREATE_SHARD = (
    "INSERT INTO shards (shard, head_position, last_ordinal, epoch) VALUES (?, 0, 0, 0) ON CONFLICT DO NOTHING"
)
_TAKE_SHARD = (
    "UPDATE shards SET epoch = epoch + 1, owner = ? WHERE shard = ? RETURNING epoch, head_position, last_ordinal"
)
_MOVE_HEAD = "UPDATE shards SET head_position = ?, last_ordinal = ? WHERE shard = ? AND head_position = ? AND epoch = ?"
_INSERT_TENANT = "INSERT INTO tenants (shard, tenant_key, name, sequence) VALUES (?, ?, ?, 0)"
_MOVE_SEQUENCE = "UPDATE tenants SET sequence = ? WHERE tenant_key = ?"
_INSERT_STREAM = "INSERT INTO streams (shard, stream_key, tenant_key, stream_id) VALUES (?, ?, ?, ?)"
# What is refused takes the transaction with it, as it would anyway. If only the statement were to be undone, SQLite
# would copy every page that it changes.
_INSERT_EVENTS = (
    "INSERT OR ROLLBACK INTO events "
    "(shard, recorded_at_us, position, stream_key, stream_version, type, tenant_key, record) VALUES "
)
_EVENTS_A_STATEMENT = 64
_CLOSE_WORKFLOW = "DELETE FROM open_workflows WHERE stream_key = ?"
_OPEN_WORKFLOW = (
    "INSERT INTO open_workflows (shard, stream_key, opened_position, wake_at_us) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (stream_key) DO UPDATE SET wake_at_us = excluded.wake_at_us"
)
_INSERT_CHUNK = (
    "INSERT INTO output_chunks (shard, ordinal, stream_key, step_id, attempt, sequence, position, data) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_WRITE_PAYLOAD = (
    "INSERT INTO payloads (shard, tenant_key, digest, size, touched_at_us, data) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (tenant_key, digest) DO UPDATE SET touched_at_us = excluded.touched_at_us"
)
_WRITE_DATA_KEY = (
    "INSERT INTO data_keys (key_id, wrapped_key, destroyed_at_us, tenant) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (key_id) DO UPDATE SET wrapped_key = excluded.wrapped_key, destroyed_at_us = excluded.destroyed_at_us "
    "WHERE data_keys.wrapped_key IS NOT NULL"
)
_WRITE_SNAPSHOT = (
    "INSERT INTO snapshots (shard, stream_key, stream_version, state_schema, data) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (stream_key) DO UPDATE SET stream_version = excluded.stream_version, "
    "state_schema = excluded.state_schema, data = excluded.data "
    "WHERE excluded.stream_version >= snapshots.stream_version"
)
_INSERT_TILE = "INSERT INTO tiles (shard, level, tile_index, hashes) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_INSERT_CHECKPOINT = "INSERT INTO checkpoints (shard, size, root, note) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_FIND_STREAM = (
    "SELECT stream_key, (SELECT coalesce(max(stream_version), 0) FROM events "
    "WHERE events.shard = streams.shard AND events.stream_key = streams.stream_key) "
    "FROM streams WHERE shard = ? AND tenant_key = ? AND stream_id = ?"
)
_FIND_ATTEMPT = (
    "SELECT coalesce(max(sequence), 0) FROM output_chunks WHERE shard = ? AND step_id = ? AND attempt = ? "
    "AND stream_key = (SELECT stream_key FROM streams WHERE shard = ? AND tenant_key = ? AND stream_id = ?)"
)

_QUIET_S = 0.1
_CHECKPOINT_BYTES = 16 << 20
_BYTES_A_COMMIT = 6 * 4096
_BYTES_AN_EVENT = 600
"""What they add to the write-ahead log, roughly: SQLite does not tell."""


def sqlite_log(
    path: Path,
    *,
    clock: Clock,
    limits: StoreLimits | None = None,
    reader_connections: int = 2,
    on_point: OnPoint | None = None,
) -> EventLog:
    """The event store in a file that `store.migrate.migrate` has made. Open it before use."""
    return EventLog(
        SqliteBackend(path, on_point=on_point),
        SqliteReader(path, connections=reader_connections),
        clock=clock,
        limits=limits or StoreLimits(),
        on_point=on_point,
    )


class SqliteBackend:
    """A shard in a SQLite file, owned from `open` to `close`."""

    synchronous = "FULL"

    def __init__(self, path: Path, *, shard: int = SHARD, on_point: OnPoint | None = None) -> None:
        self._path = path
        self._shard = shard
        self._on_point = on_point
        self._lock = LockFile(path)
        self._thread: WriterThread | None = None
        # What follows belongs to the thread.
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._raw: sqlite3.Connection | None = None
        self._epoch = 0
        self._log_bytes = 0

    @property
    def is_current(self) -> bool:
        """Whether the file is open: the lock lets nobody else have it meanwhile."""
        return self._thread is not None

    @property
    def owner(self) -> str:
        """This process, by machine and id."""
        return f"{socket.gethostname()}:{os.getpid()}"

    @property
    def lease_left_s(self) -> float | None:
        """The lock holds for as long as the process; see Backend."""
        return None

    async def open(self, on_lost: OnLost) -> ShardState:
        """Take the lock and the shard; see Backend."""
        # Nobody can take what is locked.
        del on_lost
        self._lock.acquire()
        self._thread = WriterThread("log-writer", self._checkpoint, quiet_s=_QUIET_S)
        try:
            return await self._thread.run(self._open)
        except BaseException:
            await self.close()
            raise

    async def look_up(self, cold: Cold) -> LookedUp:
        """Look up streams and attempts; see Backend."""
        return await self._running().run(lambda: self._look_up(cold))

    async def commit(self, batch: Batch) -> None:
        """Make a batch durable; see Backend."""
        thread = self._running()
        if await thread.run(lambda: self._commit(batch)):
            # There is no quiet to wait for. It runs behind this acknowledgement and ahead of the next commit.
            thread.post(self._checkpoint)

    async def close(self) -> None:
        """Let go of the file; see Backend."""
        thread, self._thread = self._thread, None
        try:
            if thread is not None:
                await thread.run(self._close)
                await thread.stop()
        finally:
            self._lock.release()

    def _running(self) -> WriterThread:
        if self._thread is None:
            raise StoreClosedError(f"{self._path} is not open")
        return self._thread

    def _open(self) -> ShardState:
        if not self._path.is_file():
            raise StoreError(f"there is no database at {self._path}: make one with `podium database migrate`")
        try:
            self._engine = write_engine(self._path, synchronous=self.synchronous)
            self._connection = connection = self._engine.connect()
            with connection.begin():
                require_current(connection)
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            self._raw = raw
            self._checkpoint_everything(raw)
            with connection.begin():
                return self._take(connection, raw)
        except (DBAPIError, sqlite3.Error) as error:
            raise StoreError(f"cannot open {self._path}: {error}") from error

    def _take(self, connection: Connection, raw: sqlite3.Connection) -> ShardState:
        raw.execute(_CREATE_SHARD, (self._shard,))
        owner = f"{socket.gethostname()}:{os.getpid()}"
        [(self._epoch, head, last_ordinal)] = raw.execute(_TAKE_SHARD, (owner, self._shard)).fetchall()
        shard = {"shard": self._shard}
        return ShardState(
            epoch=self._epoch,
            head=head,
            last_recorded_at_us=connection.execute(LAST_RECORDED_AT, {**shard, "position": head}).scalar() or 0,
            last_ordinal=last_ordinal,
            last_stream_key=connection.execute(LAST_STREAM_KEY, shard).scalar_one(),
            tenants=[TenantState(*row) for row in connection.execute(TENANTS, shard)],
        )

    def _checkpoint_everything(self, raw: sqlite3.Connection) -> None:
        # What a process that died had committed becomes durable here, or the file is not served.
        busy, _, _ = raw.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        if busy:
            raise StoreError(f"cannot checkpoint {self._path}: another process keeps a read transaction open on it")

    def _look_up(self, cold: Cold) -> LookedUp:
        raw = self._opened()
        shard = self._shard
        streams = [
            raw.execute(_FIND_STREAM, (shard, name.tenant_key, name.stream_id)).fetchone() for name in cold.streams
        ]
        attempts = [
            raw.execute(
                _FIND_ATTEMPT, (shard, name.step_id, name.attempt, shard, name.tenant_key, name.stream_id)
            ).fetchone()[0]
            for name in cold.attempts
        ]
        return LookedUp([None if found is None else StreamState(*found) for found in streams], attempts)

    def _commit(self, batch: Batch) -> bool:
        """Commit, and tell whether a checkpoint is due."""
        raw = self._opened()
        raw.execute("BEGIN IMMEDIATE")
        try:
            self._write(raw, batch)
            if self._on_point is not None:
                self._on_point("written")
            raw.execute("COMMIT")
        except BaseException:
            # An error in COMMIT may have ended the transaction already.
            with suppress(sqlite3.Error):
                raw.execute("ROLLBACK")
            raise
        self._log_bytes += _weight(batch)
        if any(wrapped_key is None for _, wrapped_key, _, _ in batch.data_keys):
            # The log still holds the key that was destroyed.
            self._checkpoint("TRUNCATE")
        return self._log_bytes > _CHECKPOINT_BYTES

    def _write(self, raw: sqlite3.Connection, batch: Batch) -> None:
        shard = self._shard
        moved = raw.execute(_MOVE_HEAD, (batch.new_head, batch.last_ordinal, shard, batch.old_head, self._epoch))
        if moved.rowcount != 1:
            raise OwnershipLostError(f"shard {shard} of {self._path} has another owner, or its head was moved")
        for first in range(0, len(batch.events), _EVENTS_A_STATEMENT):
            events = batch.events[first : first + _EVENTS_A_STATEMENT]
            raw.execute(_insert_events(len(events)), (shard, batch.recorded_at_us, *chain.from_iterable(events)))
        for statement, rows in (
            (_INSERT_TENANT, [(shard, key, name) for key, name in batch.tenants.items()]),
            (_MOVE_SEQUENCE, [(sequence, key) for key, sequence in batch.sequences.items()]),
            (_INSERT_STREAM, batch.streams),
            (_CLOSE_WORKFLOW, [(key,) for key in batch.closed]),
            (_OPEN_WORKFLOW, [(shard, key, *entry) for key, entry in batch.opened.items()]),
            (_INSERT_CHUNK, batch.chunks),
            (_WRITE_PAYLOAD, batch.payloads),
            (_WRITE_DATA_KEY, batch.data_keys),
            (_WRITE_SNAPSHOT, batch.snapshots),
            (_INSERT_TILE, batch.tiles),
            (_INSERT_CHECKPOINT, batch.checkpoints),
        ):
            if rows:
                raw.executemany(statement, rows)

    def _checkpoint(self, mode: str = "PASSIVE") -> None:
        # Only this connection checkpoints. What readers still look at stays in the log until the next time.
        if self._raw is None or self._log_bytes == 0:
            return
        self._log_bytes = 0
        try:
            self._raw.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error:
            # Nothing is lost: the log keeps what is not checkpointed, and a disk that fails will fail a commit too.
            _logger.exception("cannot checkpoint %s", self._path)

    def _opened(self) -> sqlite3.Connection:
        if self._raw is None:
            raise StoreClosedError(f"{self._path} is not open")
        return self._raw

    def _close(self) -> None:
        # The last connection to be closed checkpoints everything and removes the log.
        self._raw = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()


@cache
def _insert_events(count: int) -> str:
    """The statement that inserts so many events.

    One for all of them, because the driver lets go of the interpreter's lock for every row that it executes, and may
    wait for the loop each time until it has it again.
    """
    rows = (range(3 + 6 * row, 9 + 6 * row) for row in range(count))
    return _INSERT_EVENTS + ", ".join(f"(?1, ?2, {', '.join(f'?{number}' for number in row)})" for row in rows)


def _weight(batch: Batch) -> int:
    values = sum([row[3] for row in batch.payloads]) + sum([len(row[7]) for row in batch.chunks])
    return _BYTES_A_COMMIT + _BYTES_AN_EVENT * (len(batch.events) + len(batch.chunks)) + values
