"""The projections in a schema of their own in the log's Postgres, with one writer and a few readers.

Invariant: one process writes, the owner of the log. Opening puts its epoch into the table `fence`, where it only grows,
and every write first takes that row and compares: a process that was taken over is refused before it changes anything,
and a write of its own that was still under way has either committed or failed before its successor has opened. The
epoch is the log's own, so that of two that start together the same one has both.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Table, bindparam, event, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateSchema

from service.projections.database import READERS, DatabaseError, DatabaseFencedError, DatabaseUnavailableError, Result
from store.postgres_engine import UNREACHABLE, engine_over, reason_of

SCHEMA = "podium_projections"
TRANSACTION_TIMEOUT_S = 60.0
"""How long a transaction may take before its connection is given up: a server may stop answering without a word."""
LOCK_TIMEOUT_MS = 5000
"""How long a statement waits for a lock, so that somebody's long look at a table does not hold up the writer."""
IDLE_TIMEOUT_MS = 3000
"""How long a process that stands still may hold a transaction, and with it the fence. Less than LOCK_TIMEOUT_MS."""

SETTINGS = (
    f"SET search_path = {SCHEMA}",
    f"SET lock_timeout = {LOCK_TIMEOUT_MS}",
    f"SET idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}",
)
# Classes of SQLSTATE that no row is at fault for: connection, authorisation, rollback by the server, resources,
# operator, system; and single states: read-only (a standby), a lock that was not to be had.
_UNAVAILABLE_CLASSES = ("08", "28", "40", "53", "57", "58", "XX")
_UNAVAILABLE_STATES = ("25006", "25P03", "55P03")

_METADATA = MetaData()
FENCE = Table(
    "fence",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
)
_RAISE_EPOCH = (
    postgresql.insert(FENCE)
    .values(id=1, epoch=bindparam("mine"))
    .on_conflict_do_update(
        index_elements=[FENCE.c.id], set_={"epoch": bindparam("mine")}, where=FENCE.c.epoch < bindparam("mine")
    )
    .returning(FENCE.c.epoch)
)
_HOLD_EPOCH = select(FENCE.c.epoch).with_for_update()


class PostgresProjections:
    """See ProjectionsDatabase."""

    def __init__(self, url: str, *, readers: int = READERS) -> None:
        """`url` is whatever asyncpg understands, postgresql://..."""
        writer, reader = _engine(url, 1), _engine(url, readers)
        # The fence is read as it is after the wait for it, not as it was before.
        self._writer = writer.execution_options(isolation_level="READ COMMITTED")
        self._readers = reader.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._turn = asyncio.Lock()
        self._epoch = 0

    async def prepare(self) -> None:
        """Make the schema. Raises DatabaseError."""
        try:
            async with _translated(), self._writer.begin() as connection:
                await connection.run_sync(_make_schema)
        except DBAPIError as error:
            remedy = "`podium database grants ROLE` prints what a role needs"
            raise DatabaseError(f"the schema {SCHEMA} cannot be used: {reason_of(error)}; {remedy}") from error

    async def open(self, epoch: int) -> None:
        """Take over from whoever wrote here under a lower epoch. Raises DatabaseError."""
        await self.prepare()
        async with _translated(), self._writer.begin() as connection:
            taken = (await connection.execute(_RAISE_EPOCH, {"mine": epoch})).scalar()
        if taken is None:
            raise DatabaseFencedError(
                f"the projections belong to an owner of the log with a higher epoch than {epoch}; if the log was "
                f"restored from an older copy, drop the schema {SCHEMA}: it is built anew"
            )
        self._epoch = epoch

    async def close(self) -> None:
        """See ProjectionsDatabase."""
        async with self._turn:
            await self._readers.dispose()
            await self._writer.dispose()

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """See ProjectionsDatabase. Raises DatabaseFencedError when another process has opened the projections."""

        def fenced(connection: Connection) -> Result:
            epoch = connection.execute(_HOLD_EPOCH).scalar_one()
            if epoch != self._epoch:
                raise DatabaseFencedError(
                    f"another process has taken over the projections: epoch {epoch}, not {self._epoch}"
                )
            return work(connection)

        async with self._turn, _translated(), self._writer.begin() as connection:
            return await connection.run_sync(fenced)

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """See ProjectionsDatabase."""
        async with _translated(), self._readers.begin() as connection:
            return await connection.run_sync(work)


@contextlib.asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Bound a transaction in time, and tell what is wrong with the database from what is wrong with a statement."""
    try:
        async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
            yield
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        # Without a state the connection broke, or a statement was tried on what was left of it.
        if state is None or state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE_STATES:
            raise DatabaseUnavailableError(f"the projections' schema: {reason_of(error)}") from error
        raise
    except (*UNREACHABLE, NoConnectionError) as error:
        raise DatabaseUnavailableError(f"the projections' schema: {reason_of(error)}") from error


def _make_schema(connection: Connection) -> None:
    # Making a schema needs a right that one who may only use it does not have.
    if not connection.dialect.has_schema(connection, SCHEMA):
        connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
    _METADATA.create_all(connection)


def _engine(url: str, connections: int) -> AsyncEngine:
    engine = engine_over(url, application_name="podium projections", connections=connections)

    @event.listens_for(engine.sync_engine, "connect", insert=True)
    def set_up(connection: DBAPIConnection, _record: object) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            for setting in SETTINGS:
                cursor.execute(setting)
        connection.commit()

    return engine
