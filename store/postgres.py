"""The log in a Postgres: the backend of the writer, and how a whole store is put together on it.

One process owns a shard, by its name in the shard's row; the epoch in that row fences the statements of everybody
else, and of itself: when it is unknown whether a statement took effect (the connection broke, the answer was lost),
the epoch is raised first, and only then the head is read. Without that, a statement that the server still holds could
commit after the head was read.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql.compiler import SQLCompiler

from store.backend import (
    Batch,
    Cold,
    LookedUp,
    OnLost,
    OnPoint,
    ShardState,
    StreamState,
    TenantState,
)
from store.contract import (
    SHARD,
    Clock,
    OutcomeUnknownError,
    OwnershipLostError,
    StoreClosedError,
    StoreError,
)
from store.event_log import EventLog
from store.limits import StoreLimits
from store.migrate import SchemaMismatchError, require_revision
from store.postgres_append import Statement, append_statement
from store.postgres_engine import OLDEST, UNREACHABLE, address_of, connect, reason_of
from store.postgres_lease import Lease, LeaseKeeper, LeaseTimes
from store.postgres_reader import PostgresReader
from store.queries import LAST_RECORDED_AT, LAST_STREAM_KEY, TENANTS

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_LEASE_ENDS = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $2"
_CREATE_SHARD = (
    "INSERT INTO shards (shard, head_position, last_ordinal, epoch) VALUES ($1, 0, 0, 0) ON CONFLICT DO NOTHING"
)
_TAKE_SHARD = (
    f"UPDATE shards SET epoch = epoch + 1, owner = $3 || ':' || (epoch + 1), lease_expires_at_us = {_LEASE_ENDS} "
    "WHERE shard = $1 RETURNING epoch, owner, head_position, last_ordinal"
)
_FENCE = (
    f"UPDATE shards SET epoch = epoch + 1, lease_expires_at_us = {_LEASE_ENDS} "
    "WHERE shard = $1 AND owner = $3 RETURNING epoch, head_position, last_ordinal"
)
# For as long as the connection lives, also when the server's configuration is read again: with "off" an acknowledged
# event would be lost with the server's memory.
_DURABLE = (
    "SELECT set_config('synchronous_commit', CASE setting WHEN 'off' THEN 'on' ELSE setting END, false) "
    "FROM pg_settings WHERE name = 'synchronous_commit'"
)
_RELEASE = "UPDATE shards SET lease_expires_at_us = 0 WHERE shard = $1 AND owner = $2"
# Each name is looked up by its key, not joined: as long as Postgres knows nothing of tables that have just grown, it
# would go through all streams for every group commit with a new one.
_STREAM_KEY = (
    "SELECT s.stream_key FROM streams s "
    "WHERE s.shard = $1 AND s.tenant_key = n.tenant_key AND s.stream_id = n.stream_id"
)
FIND_STREAMS = (
    "SELECT k.stream_key, (SELECT coalesce(max(e.stream_version), 0) FROM events e "
    "WHERE e.shard = $1 AND e.stream_key = k.stream_key) "
    "FROM unnest($2::int[], $3::text[]) WITH ORDINALITY AS n (tenant_key, stream_id, number) "
    # The limit keeps it from becoming a join.
    f"LEFT JOIN LATERAL ({_STREAM_KEY} LIMIT 1) AS k ON true ORDER BY n.number"
)
"""shard, tenant_keys, stream_ids → the key and the version of each stream; without a key it does not exist."""
FIND_ATTEMPTS = (
    f"SELECT (SELECT coalesce(max(c.sequence), 0) FROM output_chunks c WHERE c.shard = $1 AND c.stream_key = "
    f"({_STREAM_KEY}) AND c.step_id = n.step_id AND c.attempt = n.attempt) "
    "FROM unnest($2::int[], $3::text[], $4::text[], $5::int[]) "
    "WITH ORDINALITY AS n (tenant_key, stream_id, step_id, attempt, number) ORDER BY n.number"
)
"""shard, tenant_keys, stream_ids, step_ids, attempts → the sequence of each attempt's last chunk, or 0."""

# What a server that goes away, or is not the one that writes, says instead of an answer.
_TRY_AGAIN = (
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.QueryCanceledError,
    asyncpg.TooManyConnectionsError,
    # Refused for what others did at that moment, and as such undone.
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
)
_RETRY_FIRST_S = 0.05
_RETRY_MOST_S = 1.0
_CLOSE_WITHIN_S = 2.0


def postgres_log(
    url: str,
    *,
    clock: Clock,
    limits: StoreLimits | None = None,
    reader_connections: int = 4,
    times: LeaseTimes | None = None,
    on_point: OnPoint | None = None,
) -> EventLog:
    """The event store in a database that `store.migrate.migrate` has prepared. Open it before use."""
    return EventLog(
        PostgresBackend(url, times=times),
        PostgresReader(url, connections=reader_connections),
        clock=clock,
        limits=limits or StoreLimits(),
        on_point=on_point,
    )


class PostgresBackend:
    """A shard in a Postgres, owned from `open` until another takes it."""

    def __init__(self, url: str, *, shard: int = SHARD, times: LeaseTimes | None = None) -> None:
        self._url = url
        self._shard = shard
        self._times = times or LeaseTimes()
        self._connection: asyncpg.Connection | None = None
        self._keeper: LeaseKeeper | None = None
        self._owner = ""
        self._epoch = 0
        self._lease = Lease(self._times)

    @property
    def is_current(self) -> bool:
        """Whether nobody else can own the shard now, as far as the lease tells."""
        return self._keeper is not None and self._lease.is_held

    @property
    def owner(self) -> str:
        """This process, by machine, id and epoch."""
        return self._owner

    @property
    def lease_left_s(self) -> float | None:
        """How long the lease lasts; see Backend."""
        return self._lease.left_s

    async def open(self, on_lost: OnLost) -> ShardState:
        """Take the shard from whoever holds it; see Backend."""
        try:
            async with asyncio.timeout(self._times.away_s):
                self._connection = connection = await self._connect()
                await self._require_server(connection)
                await _require_schema(connection)
                state = await self._take(connection)
        except UNREACHABLE as error:
            await self._discard()
            raise StoreError(f"cannot open {address_of(self._url)}: {reason_of(error)}") from error
        except BaseException:
            await self._discard()
            raise
        self._keeper = LeaseKeeper(self._url, self._shard, self._owner, self._lease, on_lost)
        return state

    async def look_up(self, cold: Cold) -> LookedUp:
        """Look up streams and attempts; see Backend."""

        async def find(connection: asyncpg.Connection) -> LookedUp:
            streams, attempts = [], []
            if cold.streams:
                columns = zip(*[(name.tenant_key, name.stream_id) for name in cold.streams], strict=True)
                streams = await connection.fetch(FIND_STREAMS, self._shard, *columns)
            if cold.attempts:
                names = [(name.tenant_key, name.stream_id, name.step_id, name.attempt) for name in cold.attempts]
                attempts = await connection.fetch(FIND_ATTEMPTS, self._shard, *zip(*names, strict=True))
            return LookedUp(
                [None if key is None else StreamState(key, version) for key, version in streams],
                [sequence for (sequence,) in attempts],
            )

        while True:
            try:
                return await self._bounded(find)
            except _Broken as broken:
                await self._fence(broken)

    async def commit(self, batch: Batch) -> None:
        """Make a batch durable; see Backend.

        A batch whose outcome is unknown is fenced off, and then found in the log or appended again, for as long as
        the database may be away. Raises OutcomeUnknownError after that.
        """
        give_up_at = self._lease.now() + self._times.away_s
        while True:
            statement = append_statement(batch, shard=self._shard, epoch=self._epoch, lease_us=self._times.duration_us)
            sent_at = self._lease.now()

            try:
                if await self._bounded(partial(_took_effect, statement)):
                    self._lease.renewed(sent_at)
                    return
                # Another owner, or a fence of our own that was thought lost and took effect late.
                cause = _Broken("the head or the epoch of the shard is not what it was")
            except _Broken as broken:
                cause = broken
            if await self._fence(cause, batch):
                return
            if self._lease.now() > give_up_at:
                raise StoreError(f"{address_of(self._url)} breaks the connection whenever this is appended: {cause}")

    async def close(self) -> None:
        """Let go of the shard; see Backend."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await keeper.stop()
        if self._connection is not None and self._owner:
            with suppress(*UNREACHABLE):
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await self._connection.execute(_RELEASE, self._shard, self._owner)
        await self._discard()

    # The connection

    async def _connect(self) -> asyncpg.Connection:
        within_s = self._times.statement_s
        connection = await connect(
            self._url, application_name="podium writer", timeout_s=within_s, lock_timeout_s=within_s
        )
        try:
            await connection.execute(_DURABLE)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _bounded(self, call: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """Use the connection for a bounded time. Raises _Broken when it is unknown what became of it."""
        connection = self._connection
        if connection is None:
            raise StoreClosedError(f"{address_of(self._url)} is not open")
        try:
            # The server may be there and never answer: only a bound on this side ends that.
            async with asyncio.timeout(self._times.statement_s):
                return await call(connection)
        except UNREACHABLE as error:
            if _is_final(error):
                raise StoreError(f"{address_of(self._url)} refused: {reason_of(error)}") from error
            raise _Broken(reason_of(error)) from error

    async def _discard(self) -> None:
        """Drop the connection without a word: closing it politely could wait for a server that hangs."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    # The fence

    async def _fence(self, cause: _Broken, batch: Batch | None = None) -> bool:
        """Raise the epoch on a new connection, and tell whether the batch had taken effect.

        A batch that moves neither the head nor the ordinals counts as not taken; to append it again changes nothing.
        """
        _logger.warning("an append to %s has no known outcome (%s): fencing", address_of(self._url), cause)
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._times.away_s, _RETRY_FIRST_S
        while True:
            await self._discard()
            try:
                return await self._fence_once(batch)
            except (OwnershipLostError, asyncio.CancelledError):
                raise
            except UNREACHABLE as error:
                if loop.time() > deadline:
                    raise OutcomeUnknownError(
                        f"{address_of(self._url)} did not answer for {self._times.away_s:g} s ({reason_of(error)}): "
                        "whether the last append is in the log is unknown until it is opened again"
                    ) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_MOST_S)

    async def _fence_once(self, batch: Batch | None) -> bool:
        sent_at = self._lease.now()
        async with asyncio.timeout(self._times.statement_s):
            self._connection = connection = await self._connect()
            row = await connection.fetchrow(_FENCE, self._shard, self._times.duration_us, self._owner)
        if row is None:
            raise OwnershipLostError(f"shard {self._shard} of {address_of(self._url)} has another owner")
        self._epoch, head, last_ordinal = row
        self._lease.renewed(sent_at)
        if batch is None:
            return False
        reached = (head, last_ordinal)
        if reached == (batch.old_head, batch.old_ordinal):
            return False
        if reached == (batch.new_head, batch.last_ordinal):
            return True
        raise OwnershipLostError(
            f"shard {self._shard} of {address_of(self._url)} is at {reached}, where only this process writes"
        )

    # Opening

    async def _require_server(self, connection: asyncpg.Connection) -> None:
        if connection.get_server_version().major < OLDEST:
            version = connection.get_server_version()
            raise SchemaMismatchError(f"{address_of(self._url)} is Postgres {version.major}: {OLDEST} is the oldest")
        if await connection.fetchval("SHOW fsync") == "off":
            _logger.warning("%s runs with fsync=off: a power failure can lose or damage the log", address_of(self._url))

    async def _take(self, connection: asyncpg.Connection) -> ShardState:
        shard = self._shard
        before = await connection.fetchrow(
            "SELECT owner, epoch, lease_expires_at_us FROM shards WHERE shard = $1", shard
        )
        await connection.execute(_CREATE_SHARD, shard)
        sent_at = self._lease.now()
        name = f"{socket.gethostname()}:{os.getpid()}"
        row = await connection.fetchrow(_TAKE_SHARD, shard, self._times.duration_us, name)
        self._epoch, self._owner, head, last_ordinal = row
        self._lease.renewed(sent_at)
        if before is not None and before["lease_expires_at_us"]:
            _logger.warning("took shard %d over from %s, which had not let go of it", shard, before["owner"])
        await connection.execute("SELECT pg_notify($1, $2)", LeaseKeeper.channel(shard), self._owner)
        [recorded_at] = await _select(connection, LAST_RECORDED_AT, shard=shard, position=head) or [(0,)]
        [last_stream_key] = await _select(connection, LAST_STREAM_KEY, shard=shard)
        return ShardState(
            epoch=self._epoch,
            head=head,
            last_recorded_at_us=recorded_at[0],
            last_ordinal=last_ordinal,
            last_stream_key=last_stream_key[0],
            tenants=[TenantState(*row) for row in await _select(connection, TENANTS, shard=shard)],
        )


async def _require_schema(connection: asyncpg.Connection) -> None:
    has_tables = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
    require_revision(await connection.fetchval("SELECT version_num FROM alembic_version") if has_tables else None)


async def _took_effect(statement: Statement, connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetch(statement.text, *statement.values))


def _is_final(error: Exception) -> bool:
    """Whether the server refused the statement itself, or was never sent it."""
    if isinstance(error, asyncpg.PostgresError):
        # A backend that was ended from outside leaves no state behind.
        return error.sqlstate is not None and not isinstance(error, _TRY_AGAIN)
    return isinstance(error, ValueError)


class _Broken(Exception):
    """What was sent may have taken effect, or may yet."""


async def _select(connection: asyncpg.Connection, statement: Select[Any], **values: object) -> list[Any]:
    """Run a statement of `store.queries` on a raw connection."""
    compiled = statement.compile(dialect=PGDialect_asyncpg())  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    assert isinstance(compiled, SQLCompiler)
    bound = {**compiled.params, **values}
    return list(await connection.fetch(str(compiled), *[bound[name] for name in compiled.positiontup or ()]))
