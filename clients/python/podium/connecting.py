"""Opens the way to the service, for clients and for executors."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from podium.client import Client
from podium.connection import TLS, Connection, Token, open_connection
from podium.discovery import find_server
from podium.executor import Executor
from podium.worker_process import refuse_in_worker


@contextlib.asynccontextmanager
async def connect(
    address: str | None = None,
    token: Token | None = None,
    *,
    serve: Executor | None = None,
    tls: TLS | bool | None = None,
) -> AsyncGenerator[Client, None]:
    """Connects to Podium: `async with podium.connect() as client`.

    Args:
        address: host:port, or https://host:port for TLS. Otherwise PODIUM_ADDRESS, and otherwise the development
            server of this user on this machine.
        token: Who the caller is; otherwise PODIUM_TOKEN, and otherwise the development server's. A function is asked
            anew for every call.
        serve: An executor that serves its tools in this process for as long as the connection lasts.
        tls: How to reach the service with TLS; False sends the token in the clear to another machine.

    Raises:
        Unavailable: No server is named, or none answers.
        PodiumError: The service refuses the executor.
    """
    refuse_in_worker()
    async with opened(address, token, tls=tls) as connection:
        await connection.reach()
        async with contextlib.AsyncExitStack() as stack:
            if serve is not None:
                await stack.enter_async_context(serve.attached(connection))
            yield Client(connection)


@contextlib.asynccontextmanager
async def opened(
    address: str | None, token: Token | None, *, tls: TLS | bool | None
) -> AsyncGenerator[Connection, None]:
    """Opens a connection without waiting for anybody to answer."""
    target = find_server(address, token if isinstance(token, str) else None)
    connection = open_connection(target, token, tls=tls)
    try:
        yield connection
    finally:
        await connection.close()
