"""Reading the log of a Postgres, on a few connections that never write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.ext.asyncio import AsyncEngine

from store.contract import SHARD, StoreClosedError, StoreError
from store.migrate import require_current
from store.postgres_engine import UNREACHABLE, address_of, engine_over, reason_of
from store.reader import LogReader

T = TypeVar("T")

READ_WITHIN_S = 30.0
"""How long a read may take before its connection is given up. A page of the log takes milliseconds."""


class PostgresReader(LogReader):
    """Reads a shard. A connection that broke costs a read one more try."""

    def __init__(self, url: str, *, shard: int = SHARD, connections: int = 4) -> None:
        super().__init__(shard=shard)
        self._url = url
        self._connections = connections
        self._engine: AsyncEngine | None = None

    async def open(self) -> None:
        """Connect; see LogReader."""
        engine = engine_over(self._url, application_name="podium reader", connections=self._connections)
        # Each read is one statement, which sees one committed state by itself.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            await self._run(require_current)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect; see LogReader."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    async def _run(self, read: Callable[[Connection], T]) -> T:
        engine = self._engine
        if engine is None:
            raise StoreClosedError("the log is not open")
        try:
            try:
                return await self._read(engine, read)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # It had been idle while the server restarted; the pool has dropped all that were.
                return await self._read(engine, read)
        except (DBAPIError, NoConnectionError, *UNREACHABLE) as error:
            raise StoreError(f"cannot read {address_of(self._url)}: {reason_of(error)}") from error

    async def _read(self, engine: AsyncEngine, read: Callable[[Connection], T]) -> T:
        async with engine.connect() as connection:
            try:
                # A server that was replaced may leave its connections standing, and say nothing on them for ever.
                async with asyncio.timeout(READ_WITHIN_S):
                    return await connection.run_sync(read)
            except TimeoutError:
                await connection.invalidate()
                raise
