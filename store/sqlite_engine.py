"""How a SQLite file is opened: the writer's connection and the readers', and nothing in between.

SQLite before 3.51.3 can corrupt the log when two connections write or checkpoint at once while it is reset. So only
the writer's connection writes and checkpoints; a reader's is opened read-only and so cannot, not even when it is
the last one to be closed.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import NullPool, QueuePool

from store.contract import StoreError

_BUSY_TIMEOUT_S = 5.0
_REWRITTEN_BYTES = 1 << 20


def path_of(url: str) -> Path:
    """The file that a URL names. Raises StoreError for one that names none, as `sqlite://` does."""
    database = make_url(url).database
    if not database or database == ":memory:" or database.startswith("file:"):
        raise StoreError(f"{url} names no file: the log has to be in one")
    return Path(database)


def write_engine(path: Path, *, synchronous: str = "FULL") -> Engine:
    """An engine over the one connection that writes, to a file that exists. Its transactions are BEGIN IMMEDIATE.

    `synchronous` is FULL: with NORMAL a power failure takes acknowledged events with it (655 of them when tried).
    """
    target = _address(path, "rw")

    def connect() -> sqlite3.Connection:
        # The connection may be used on another thread than the one that made it, by one at a time.
        # `isolation_level=None` keeps the driver from beginning transactions by itself, and too late.
        rewrite_log(path)
        connection = sqlite3.connect(
            target, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "wal_autocheckpoint=0",  # The writer checkpoints when it is idle, not inside somebody's commit.
            "cache_size=-32768",
            "temp_store=MEMORY",  # The rows of one statement pass through a temporary table: never through a file.
            "secure_delete=ON",  # A data key that was destroyed must not linger in a free corner of a page,
            "journal_size_limit=67108864",  # and a log that grew behind a slow reader must not stay long.
            "recursive_triggers=ON",  # REPLACE is then a DELETE, which the trigger on events refuses.
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def rewrite_log(path: Path) -> None:
    """Write the write-ahead log of a file over itself and sync it, when a process that died has left one.

    A kernel may report a failed sync once and then take the pages to be clean: the memory of the machine shows a whole
    log, and the disk has one with a hole. Were that checkpointed, a power failure would leave newer pages in the
    database under an older part of the log, which is corruption. Nobody else may have the file open for writing.
    Raises StoreError when the log cannot be made durable.
    """
    log = path.with_name(path.name + "-wal")
    if not log.exists():
        return
    try:
        with log.open("r+b", buffering=0) as file:
            while piece := file.read(_REWRITTEN_BYTES):
                file.seek(-len(piece), os.SEEK_CUR)
                file.write(piece)
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"cannot make {log} durable: {error.strerror}") from error


def _begin_immediate(connection: Connection) -> None:
    # A deferred BEGIN lets another writer in between a SELECT and the INSERT that relies on it.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def read_engine(path: Path, *, connections: int = 1) -> Engine:
    """An engine over read-only connections, for the file of a running server, of none, or for a copy."""
    target = _address(path, "ro")
    if _is_sealed(path):
        target += "&immutable=1"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            target, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only=1")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=connections, max_overflow=0)


def _address(path: Path, mode: str) -> str:
    return f"file:{quote(str(path.resolve()))}?mode={mode}"


def _is_sealed(path: Path) -> bool:
    # A database in write-ahead mode needs two files beside it. Where they cannot be made and none holds a commit,
    # the file is a backup on a read-only disk, and nobody can be writing it.
    log = path.with_name(path.name + "-wal")
    is_complete = not log.exists() or log.stat().st_size == 0
    return is_complete and not os.access(path.parent, os.W_OK)
