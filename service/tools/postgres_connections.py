"""A Postgres database, in transactions that can only read unless writing is allowed, as a role that may do little.

What a statement may do is the role's rights: the transaction and its settings are made so that no statement can widen
them, but rights are the wall. Every transaction is rolled back, except those of databases that allow writing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import asyncpg
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from podium import PodiumError
from podium.pool_use import PoolStatistics, PoolUse
from service.tools.failures import TIMEOUT, failed
from service.tools.settings import Database
from service.tools.sql_connection import RowLimit, Rows, Scalar, bound, count_use

_CONNECT_TIMEOUT_S = 10.0
_ANSWER_MARGIN_S = 5.0
"""The server ends a statement that takes too long; this long after, we do."""
_ROWS_AT_ONCE = 100

# One round trip. It takes the snapshot, too: from then on a transaction that reads cannot be made one that writes.
_BOUNDS = sqlalchemy.text(
    "SELECT set_config('statement_timeout', :timeout, true), set_config('lock_timeout', :timeout, true), "
    "set_config('idle_in_transaction_session_timeout', :timeout, true), "
    "CASE WHEN :role = '' THEN '' ELSE set_config('role', :role, true) END"
)
_DENIED = frozenset({"42501", "25006"})
"""insufficient_privilege, read_only_sql_transaction."""
_ENDED = "57014"
_CLASSES_OF_STATEMENTS = ("42", "0A")
"""Of errors whose words are about the statement and hold no value: syntax and access rules, what is not supported."""
_CLASSES_THAT_PASS = ("08", "40", "53", "57", "55")
"""Connections, conflicts, resources, an operator's act, locks."""


class PostgresConnections:
    """Connections to a Postgres database."""

    def __init__(self, settings: Database) -> None:
        self._settings = settings
        self._engine = create_async_engine(
            sqlalchemy.make_url(settings.url).set(drivername="postgresql+asyncpg"),
            pool_size=settings.max_connections,
            max_overflow=0,
            pool_timeout=settings.timeout_s,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "timeout": _CONNECT_TIMEOUT_S,
                "server_settings": {
                    "application_name": "podium-builtin",
                    "default_transaction_read_only": "off" if settings.writes else "on",
                },
            },
        )
        self._use = PoolUse(settings.name, settings.max_connections)
        count_use(self._engine.sync_engine, self._use)

    async def query(self, statement: str, parameters: Mapping[str, Scalar], max_rows: int) -> Rows:
        """Run one statement and return its rows. Raises podium.ToolFailed."""
        self._use.asked()
        try:
            async with asyncio.timeout(self._settings.timeout_s + _ANSWER_MARGIN_S), self._engine.connect() as plain:
                connection = await plain.execution_options(postgresql_readonly=not self._settings.writes)
                milliseconds = str(round(self._settings.timeout_s * 1000))
                await connection.execute(_BOUNDS, {"timeout": milliseconds, "role": self._settings.role})
                return await self._run(connection, statement, parameters, max_rows)
        except TimeoutError:
            raise failed(TIMEOUT, "the database did not answer in time") from None
        except sqlalchemy.exc.TimeoutError:
            raise failed("DATABASE_BUSY", "all connections to the database are in use", retryable=True) from None
        except sqlalchemy.exc.DBAPIError as error:
            raise _failure(getattr(error.orig, "__cause__", None)) from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # A cursor's own: SQLAlchemy does not translate what comes while rows are fetched.
            raise _failure(error) from None
        except sqlalchemy.exc.ResourceClosedError:
            raise failed("STATEMENT_DENIED", "the statement is none that gives rows") from None
        except sqlalchemy.exc.StatementError:
            raise failed("QUERY_FAILED", "the statement does not fit its parameters") from None
        except OSError:
            raise failed("DATABASE_UNAVAILABLE", "the database cannot be reached", retryable=True) from None

    def statistics(self) -> PoolStatistics:
        """How they are used."""
        return self._use.statistics()

    async def close(self) -> None:
        """Close all of them."""
        await self._engine.dispose()

    async def _run(
        self, connection: AsyncConnection, statement: str, parameters: Mapping[str, Scalar], max_rows: int
    ) -> Rows:
        text = bound(statement, parameters)
        limit = RowLimit(max_rows, self._settings.max_result_bytes)
        if self._settings.writes:
            done = await connection.execute(text)
            columns = list(done.keys()) if done.returns_rows else []
            if done.returns_rows:
                limit.take(done)
            await connection.commit()
            return Rows(columns, limit.rows, limit.truncated, affected=done.rowcount)
        # A cursor: what is not wanted does not leave the server.
        result = await connection.stream(text)
        async for rows in result.partitions(_ROWS_AT_ONCE):
            if not limit.take(rows):
                break
        columns = list(result.keys())
        await result.close()
        return Rows(columns, limit.rows, limit.truncated, affected=None)


def _failure(error: BaseException | None) -> PodiumError:
    """What went wrong; in the server's words only where they cannot hold a value of a table or a parameter."""
    state = str(getattr(error, "sqlstate", None) or "")
    if state in _DENIED:
        return failed("STATEMENT_DENIED", "the database does not let this role do that")
    if state == _ENDED:
        return failed(TIMEOUT, "the statement took longer than the database's limit")
    if state[:2] in _CLASSES_OF_STATEMENTS:
        said = str(error).partition("\n")[0]
        return failed("QUERY_FAILED", f"the database refused the statement: {said}")
    if not state or state[:2] in _CLASSES_THAT_PASS:
        message = f"the database could not run the statement{f' (SQLSTATE {state})' if state else ''}"
        return failed("DATABASE_UNAVAILABLE", message, retryable=True)
    return failed("QUERY_FAILED", f"the statement failed (SQLSTATE {state})")
