"""How a Postgres is reached: the writer's raw connection, and the engine that reads and migrates.

Both take the same address, with whatever asyncpg understands in it (several hosts, sslmode, a password file). An
address may hold a password, so none is ever part of a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import asyncpg
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from store.contract import StoreError

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
OLDEST = 15
"""The oldest major version that is supported."""

UNREACHABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a connection that cannot be made, or breaks, may raise. TimeoutError is an OSError.

asyncpg takes itself for broken (InternalClientError) when a connection ends between two of its own messages.
"""


def is_postgres(url: str) -> bool:
    """Whether an address names a Postgres."""
    return url.partition(":")[0].partition("+")[0] in ("postgresql", "postgres")


def address_of(url: str) -> str:
    """The address as it may be shown: host and database, no user and no password."""
    parsed = make_url(url)
    host = parsed.host or parsed.query.get("host") or "localhost"
    return f"postgresql://{host}{f':{parsed.port}' if parsed.port else ''}/{parsed.database or ''}"


async def connect(
    url: str, *, application_name: str, timeout_s: float = CONNECT_TIMEOUT_S, lock_timeout_s: float | None = None
) -> asyncpg.Connection:
    """Open a raw connection. Raises one of UNREACHABLE.

    With `lock_timeout_s` the server itself ends a statement that waits so long for a lock. One that waits goes on to do
    so when its client has gone: every try would leave a connection behind, and take effect in the end.
    """
    scheme, _, rest = url.partition(":")
    bounded = {} if lock_timeout_s is None else {"lock_timeout": f"{round(lock_timeout_s * 1000)}ms"}
    return await asyncpg.connect(
        f"{scheme.partition('+')[0]}:{rest}",
        timeout=timeout_s,
        # A statement is prepared once for as long as the connection lives.
        max_cached_statement_lifetime=0,
        server_settings={
            "application_name": application_name,
            # Each statement is of one shape: planning it again for every batch would cost more than running it.
            "plan_cache_mode": "force_generic_plan",
            "jit": "off",
            # Whatever the operator's default is: two renewals of a lease that meet are no error.
            "default_transaction_isolation": "read committed",
            **bounded,
        },
    )


def engine_over(url: str, *, application_name: str, connections: int | None = None) -> AsyncEngine:
    """An engine that connects as `connect` does; without a number of connections it keeps none open."""

    async def open_connection() -> asyncpg.Connection:
        return await connect(url, application_name=application_name)

    if connections is None:
        return create_async_engine(
            "postgresql+asyncpg://", async_creator=open_connection, poolclass=NullPool, hide_parameters=True
        )
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=open_connection,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
    )


def run_on_connection(url: str, work: Callable[[Connection], T]) -> T:
    """Do something in one transaction on a connection of its own, wherever this is called. Raises StoreError."""

    async def run() -> T:
        engine = engine_over(url, application_name="podium migrate")
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        except (DBAPIError, *UNREACHABLE) as error:
            raise StoreError(f"cannot use {address_of(url)}: {reason_of(error)}") from error
        finally:
            await engine.dispose()

    # On a thread of its own: the caller may be on a loop.
    with ThreadPoolExecutor(1, "postgres") as thread:
        return thread.submit(lambda: asyncio.run(run())).result()


def reason_of(error: BaseException) -> str:
    """What went wrong, without the statement and its values."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    original = error.orig if isinstance(error, DBAPIError) else error
    cause = getattr(original, "__cause__", None) or original
    return str(cause).partition("\n")[0] or type(cause).__name__
