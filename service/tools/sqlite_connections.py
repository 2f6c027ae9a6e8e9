"""A SQLite file, opened so that nothing but the kinds of statement that are allowed can be run on it.

Four walls, each of which would be enough: the file is opened read-only, the connection refuses writes, the authorizer
refuses every action that is not one of reading, and the extension loader is off. A statement is ended by the progress
handler when its time is over or its caller has gone.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any
from urllib.parse import quote

import sqlalchemy
from sqlalchemy.pool import QueuePool

from podium import PodiumError
from podium.invocation import in_thread
from podium.pool_use import PoolStatistics, PoolUse
from service.tools.failures import TIMEOUT, TOO_LARGE, failed
from service.tools.settings import Database
from service.tools.sql_connection import RowLimit, Rows, Scalar, bound, count_use

_PROGRESS_STEPS = 4_000
"""Of SQLite's machine between two looks at the time: about a tenth of a millisecond."""
_BUSY_TIMEOUT_S = 2.0
_ROWS_AT_ONCE = 100
_SQL_BYTES_MAX = 100_000
_READ_ACTIONS = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_WRITE_ACTIONS = {
    "insert": sqlite3.SQLITE_INSERT,
    "update": sqlite3.SQLITE_UPDATE,
    "delete": sqlite3.SQLITE_DELETE,
}
_NO_TABLES = frozenset({"", "json_each", "json_tree"})
"""What columns of expressions and of functions are read from."""
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})
_REASONS = {
    "SQLITE_AUTH": ("STATEMENT_DENIED", False),
    "SQLITE_READONLY": ("STATEMENT_DENIED", False),
    "SQLITE_INTERRUPT": (TIMEOUT, False),
    "SQLITE_TOOBIG": (TOO_LARGE, False),
    "SQLITE_BUSY": ("DATABASE_BUSY", True),
    "SQLITE_CANTOPEN": ("DATABASE_UNAVAILABLE", True),
}


class SqliteConnections:
    """Connections to a SQLite file. Statements run in threads."""

    def __init__(self, settings: Database) -> None:
        self._settings = settings
        self._path = settings.url.partition("///")[2]
        # As SQLite itself finds tables, and as the sanitizer compares them.
        self._tables = None if settings.tables is None else frozenset(each.lower() for each in settings.tables)
        self._actions = _READ_ACTIONS | {_WRITE_ACTIONS[kind] for kind in settings.kinds if kind in _WRITE_ACTIONS}
        self._engine = sqlalchemy.create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=settings.max_connections,
            max_overflow=0,
            pool_timeout=settings.timeout_s,
        )
        # After SQLAlchemy has asked its own questions on the first connection.
        sqlalchemy.event.listen(self._engine, "connect", self._guard)
        self._use = PoolUse(settings.name, settings.max_connections)
        count_use(self._engine, self._use)

    async def query(self, statement: str, parameters: Mapping[str, Scalar], max_rows: int) -> Rows:
        """Run one statement and return its rows. Raises podium.ToolFailed."""
        self._use.asked()
        given_up = threading.Event()
        timer = asyncio.get_running_loop().call_later(self._settings.timeout_s, given_up.set)
        try:
            return await in_thread(lambda: self._query(statement, parameters, max_rows, given_up), "sql_query")
        except sqlalchemy.exc.TimeoutError:
            raise failed("DATABASE_BUSY", "all connections to the database are in use", retryable=True) from None
        except sqlalchemy.exc.DBAPIError as error:
            raise _failure(error) from None
        except sqlalchemy.exc.StatementError:
            raise failed("QUERY_FAILED", "the statement does not fit its parameters") from None
        finally:
            timer.cancel()
            # A thread cannot be stopped; the statement that runs in it can.
            given_up.set()

    def statistics(self) -> PoolStatistics:
        """How they are used."""
        return self._use.statistics()

    async def close(self) -> None:
        """Close all of them."""
        self._engine.dispose()

    def _query(
        self, statement: str, parameters: Mapping[str, Scalar], max_rows: int, given_up: threading.Event
    ) -> Rows:
        limit = RowLimit(max_rows, self._settings.max_result_bytes)
        with self._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if self._tables is not None:
                self._authorize_reads(driver)
            driver.set_progress_handler(given_up.is_set, _PROGRESS_STEPS)
            try:
                result = connection.execute(bound(statement, parameters))
                if not result.returns_rows:
                    return Rows([], [], truncated=False, affected=result.rowcount)
                columns = list(result.keys())
                while (rows := result.fetchmany(_ROWS_AT_ONCE)) and limit.take(rows):
                    continue
                result.close()
            finally:
                driver.set_progress_handler(None, 0)
        return Rows(columns, limit.rows, limit.truncated, affected=None)

    def _connect(self) -> sqlite3.Connection:
        mode = "rw" if self._settings.writes else "ro"
        return sqlite3.connect(
            f"file:{quote(self._path)}?mode={mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            check_same_thread=False,
            # Each statement is a transaction of its own, and none can open another.
            isolation_level=None,
        )

    def _guard(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA trusted_schema = OFF")
        # What is sorted stays in memory, which is bounded: no other folder can be written.
        connection.execute("PRAGMA temp_store = MEMORY")
        # Their first use prepares them with what looks like a write of the schema.
        connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")
        if not self._settings.writes:
            connection.execute("PRAGMA query_only = ON")
        for limit, value in (
            (sqlite3.SQLITE_LIMIT_LENGTH, 2 * self._settings.max_result_bytes),
            (sqlite3.SQLITE_LIMIT_SQL_LENGTH, _SQL_BYTES_MAX),
            (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
            (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 200),
            (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 50),
            (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
        ):
            connection.setlimit(limit, value)
        self._authorize_reads(connection)

    def _authorize_reads(self, connection: sqlite3.Connection) -> None:
        """Set the authorizer, with the tables that the file has now: others may make more."""
        connection.set_authorizer(None)
        present = frozenset(name.lower() for (name,) in connection.execute("SELECT name FROM sqlite_schema"))
        connection.set_authorizer(partial(self._authorize, present))

    def _authorize(
        self,
        present: AbstractSet[str],
        action: int,
        first: str | None,
        second: str | None,
        _database: str | None,
        _trigger: str | None,
    ) -> int:
        """SQLite's authorizer, on a connection to a file with these tables."""
        if action not in self._actions:
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION and str(second).lower() in _FORBIDDEN_FUNCTIONS:
            return sqlite3.SQLITE_DENY
        if self._tables is None or action != sqlite3.SQLITE_READ:
            return sqlite3.SQLITE_OK
        name = str(first or "").lower()
        if name in self._tables:
            return sqlite3.SQLITE_OK
        # Of a query that is counted no column is read, and it is called as the statement calls it.
        is_counted = not second and name not in present and not name.startswith("sqlite_")
        return sqlite3.SQLITE_OK if is_counted or name in _NO_TABLES else sqlite3.SQLITE_DENY


def _failure(error: sqlalchemy.exc.DBAPIError) -> PodiumError:
    """What went wrong, in SQLite's words: they name tables, columns and places in the statement, and no values.

    What was denied is not named: who may not read a table does not learn here which columns it has.
    """
    name = str(getattr(error.orig, "sqlite_errorname", ""))
    kind = next((known for known in _REASONS if name.startswith(known)), "")
    reason, retryable = _REASONS.get(kind, ("QUERY_FAILED", False))
    if reason == "STATEMENT_DENIED":
        return failed(reason, "the database does not let this statement do that")
    return failed(reason, f"the database refused the statement: {error.orig}", retryable=retryable)
