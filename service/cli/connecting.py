"""How a command reaches the service: the client and the connection below it, for as long as its work takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from podium import Client
    from podium.connection import Connection

Answer = TypeVar("Answer")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Service:
    """The service, as a command sees it."""

    client: Client
    connection: Connection

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.connection.target.address


@asynccontextmanager
async def reached(address: str | None, token: str | None) -> AsyncGenerator[Service, None]:
    """Connect to the service that is meant, and wait until it answers. Raises podium.PodiumError."""
    from podium.client import Client
    from podium.connecting import opened

    async with opened(address, token, tls=None) as connection:
        await connection.reach()
        yield Service(Client(connection), connection)


def with_service(address: str | None, token: str | None, work: Callable[[Service], Awaitable[Result]]) -> Result:
    """Do a command's work with the service and return its result. Raises podium.PodiumError."""

    async def connected() -> Result:
        async with reached(address, token) as service:
            return await work(service)

    return run(connected())


async def told(answers: AsyncIterable[Answer]) -> AsyncGenerator[Answer, None]:
    """Yield what a stream of the service answers, with its refusal as a podium.PodiumError."""
    import grpc.aio

    from podium.rpc_errors import error_of

    try:
        async for answer in answers:
            yield answer
    except grpc.aio.AioRpcError as rpc_error:
        raise error_of(rpc_error) from rpc_error


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's coroutine. Of several errors at once, the first is the command's."""
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as group:
        raise first_error(group) from group


def first_error(error: BaseException) -> BaseException:
    """Return the error itself, or the first of a group's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
