"""The projections' own SQLite file, beside the log's, with one writer and a few readers.

Invariant: one connection writes, on one thread, and it alone checkpoints the WAL (SQLite before 3.51.3 can corrupt a
database when two do so at once). Nothing in the file is the truth, so a commit need not reach the disk at once
(synchronous=NORMAL), and a damaged file is thrown away. Only the process that holds the log's lock has it open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError

from service.projections.database import READERS, DatabaseUnavailableError, Result

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
# What the file and the machine are at fault for, and not the statement. An extended code has these in its low byte.
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
_PRIMARY_CODE = 0xFF

_logger = logging.getLogger(__name__)


def beside(database: Path) -> Path:
    """The path of the projections that belong to a log's database."""
    return database.with_name(database.name + ".projections")


class SqliteProjections:
    """See ProjectionsDatabase."""

    def __init__(self, path: Path, *, readers: int = READERS) -> None:
        self._path = path
        self._writer = _engine(path, "BEGIN IMMEDIATE", 1, _WRITER_PRAGMAS)
        self._readers = _engine(path, "BEGIN", readers, _READER_PRAGMAS)
        self._writer_thread = ThreadPoolExecutor(1, "projections-writer")
        self._reader_threads = ThreadPoolExecutor(readers, "projections-reader")

    async def prepare(self) -> None:
        """Nothing: until the log's lock is held, the file is another process's."""

    async def open(self, epoch: int) -> None:
        """Create the file, or replace it when it is damaged. Raises DatabaseUnavailableError."""
        # The lock of the log lets nobody else have it.
        del epoch
        await asyncio.get_running_loop().run_in_executor(self._writer_thread, self._open)

    async def close(self) -> None:
        """Finish what runs, then close the file. Readers go first: the last connection to close checkpoints."""
        await asyncio.to_thread(self._reader_threads.shutdown, cancel_futures=True)
        self._readers.dispose()
        await asyncio.to_thread(self._writer_thread.shutdown, cancel_futures=True)
        self._writer.dispose()

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """See ProjectionsDatabase."""
        return await asyncio.get_running_loop().run_in_executor(self._writer_thread, self._write, work)

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """See ProjectionsDatabase."""
        return await asyncio.get_running_loop().run_in_executor(self._reader_threads, _transact, self._readers, work)

    def _write(self, work: Callable[[Connection], Result]) -> Result:
        try:
            return _transact(self._writer, work)
        except DatabaseUnavailableError:
            # What a connection that failed to write still holds in memory is not to be relied on.
            self._writer.dispose()
            raise

    def _open(self) -> None:
        self._keep_to_ourselves()
        try:
            self._write(_look)
        except DBAPIError as error:
            if _code_of(error) not in _DAMAGED:
                raise
            _logger.warning("the projections in %s are damaged and will be rebuilt: %s", self._path, error.orig)
            self._writer.dispose()
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._keep_to_ourselves()
            self._write(_look)

    def _keep_to_ourselves(self) -> None:
        """Make the file when there is none, for its owner alone as the log's; SQLite makes those beside it alike."""
        try:
            # Never opened when it is there: to close it would let go of the locks that a connection has on it.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._path.chmod(0o600)
        except OSError as error:
            raise DatabaseUnavailableError(f"unable to open the projections' file: {error}") from error


def _look(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").all()


def _transact(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    try:
        with engine.begin() as connection:
            return work(connection)
    except DBAPIError as error:
        if _code_of(error) in _UNAVAILABLE:
            raise DatabaseUnavailableError(f"the projections' file: {error.orig}") from error
        raise


def _code_of(error: DBAPIError) -> int:
    return int(getattr(error.orig, "sqlite_errorcode", 0)) & _PRIMARY_CODE


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
