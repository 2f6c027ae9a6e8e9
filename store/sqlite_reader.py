"""Reading the log of a SQLite file: of a running server, of none, or of a copy. Never checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from store.contract import SHARD, StoreClosedError, StoreError
from store.migrate import require_current
from store.reader import LogReader
from store.sqlite_engine import read_engine

T = TypeVar("T")


class SqliteReader(LogReader):
    """Reads a file, with a few connections on threads of their own. Takes no lock."""

    def __init__(self, path: Path, *, shard: int = SHARD, connections: int = 2) -> None:
        super().__init__(shard=shard)
        self._path = path
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
