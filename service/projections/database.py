"""The projections' own database: a SQLite file beside the log's, with one writer and a few readers.

Invariant: one connection writes, on one thread, and it alone checkpoints the WAL (SQLite before 3.51.3 can corrupt a
database when two do so at once). Nothing in the file is the truth: it is rebuilt from the log whenever it does not fit,
so a commit need not reach the disk at once (synchronous=NORMAL), and a damaged file is thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, ClauseElement, Connection, Engine, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.sql.compiler import SQLCompiler

READERS = 4
BUSY_TIMEOUT_MS = 5000
WRITER_CACHE_KIB = 16_384
CHECKPOINT_PAGES = 4096

# A reader neither writes nor checkpoints. The writer's cache holds the inner pages of the indexes, and it checkpoints
# every 16 MiB, because a checkpoint syncs, and the log's own syncs wait for the same disk.
_WRITER_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    f"cache_size=-{WRITER_CACHE_KIB}",
    f"wal_autocheckpoint={CHECKPOINT_PAGES}",
)
_READER_PRAGMAS = ("query_only=1", "wal_autocheckpoint=0")
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def beside(database: Path) -> Path:
    """The path of the projections that belong to a log's database."""
    return database.with_name(database.name + ".projections")


class ManyRows:
    """A statement for many rows, compiled once.

    SQLAlchemy binds each row of an `execute` by name and type, which costs more than SQLite takes to write it, and
    holds up the event loop meanwhile. The values are given to the driver as they are.
    """

    def __init__(self, statement: ClauseElement, columns: Iterable[str] | None = None) -> None:
        keys = None if columns is None else list(columns)
        compiled = statement.compile(dialect=sqlite.dialect(), column_keys=keys)
        assert isinstance(compiled, SQLCompiler)
        assert compiled.positiontup is not None
        self._sql = str(compiled)
        self._in_order = itemgetter(*compiled.positiontup)

    def execute(self, connection: Connection, rows: Iterable[Mapping[str, object]]) -> None:
        """Execute the statement for each row, which holds a value for each of its parameters."""
        if values := [self._in_order(row) for row in rows]:
            connection.exec_driver_sql(self._sql, values)


class ProjectionsDatabase:
    """The database file of the projections. One process has it open: the one that holds the log's lock."""

    def __init__(self, path: Path, *, readers: int = READERS) -> None:
        self._path = path
        self._writer = _engine(path, "BEGIN IMMEDIATE", 1, _WRITER_PRAGMAS)
        self._readers = _engine(path, "BEGIN", readers, _READER_PRAGMAS)
        self._writer_thread = ThreadPoolExecutor(1, "projections-writer")
        self._reader_threads = ThreadPoolExecutor(readers, "projections-reader")

    async def open(self) -> None:
        """Create the file, or replace it when it is damaged. Raises sqlalchemy.exc.DatabaseError when it cannot."""
        await asyncio.get_running_loop().run_in_executor(self._writer_thread, self._open)

    async def close(self) -> None:
        """Finish what runs, then close the file. Readers go first: the last connection to close checkpoints."""
        await asyncio.to_thread(self._reader_threads.shutdown, cancel_futures=True)
        self._readers.dispose()
        await asyncio.to_thread(self._writer_thread.shutdown, cancel_futures=True)
        self._writer.dispose()

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in one transaction, after the writes before it. An error in it undoes it."""
        return await asyncio.get_running_loop().run_in_executor(self._writer_thread, _transact, self._writer, work)

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` on one unchanging view of what is committed. It cannot write."""
        return await asyncio.get_running_loop().run_in_executor(self._reader_threads, _transact, self._readers, work)

    def _open(self) -> None:
        try:
            _transact(self._writer, _look)
        except DatabaseError as error:
            if getattr(error.orig, "sqlite_errorcode", None) not in _DAMAGED:
                raise
            _logger.warning("the projections in %s are damaged and will be rebuilt: %s", self._path, error.orig)
            self._writer.dispose()
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            _transact(self._writer, _look)


def _look(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").all()


def _transact(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    with engine.begin() as connection:
        return work(connection)


def _engine(path: Path, begin: str, connections: int, pragmas: tuple[str, ...]) -> Engine:
    url = URL.create("sqlite", database=str(path))
    # An error names its statement; what was bound to it may be a caller's text, which has no place in a server's log.
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _record: object) -> None:
        # The driver must not begin transactions of its own: it would do so too late, and not IMMEDIATE.
        connection.isolation_level = None
        with contextlib.closing(connection.cursor()) as cursor:
            for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", *pragmas):
                cursor.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
