"""One session: a stream on which an executor says hello, gets work and tells what becomes of it.

It knows the frames and nothing of the attempts. It ends when the service ends it, when the connection breaks, or when
its outbox is closed and empty.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import grpc.aio

from podium.connection import Connection
from podium.errors import Unavailable
from podium.outbox import Outbox
from podium.tasks import end, spawn
from podium.v1 import executor_service_pb2 as pb
from podium.v1 import executor_service_pb2_grpc

if TYPE_CHECKING:
    from grpc.aio import StreamStreamCall

    Stream = StreamStreamCall[pb.SessionRequest, pb.SessionResponse]

WELCOME_TIMEOUT_S = 30.0
FAREWELL_TIMEOUT_S = 5.0
DEFAULT_HEARTBEAT_S = 5.0
# The service is told a little more often than it asks for, because frames travel.
HEARTBEAT_SHARE = 0.7


class _SessionEnded(Exception):
    """The service closed the stream."""


class Session:
    """One stream to the service."""

    def __init__(self, connection: Connection, outbox: Outbox) -> None:
        self._connection = connection
        self._outbox = outbox

    async def run(
        self,
        hello: pb.Hello,
        *,
        welcomed: Callable[[pb.Welcome], None],
        received: Callable[[Iterable[pb.ServiceItem]], None],
    ) -> None:
        """Opens the session and lasts as long as it does. Returns when it ended well.

        Raises:
            grpc.aio.AioRpcError: How the stream ended otherwise.
            Unavailable: The service did not answer the hello.
        """
        stub = executor_service_pb2_grpc.ExecutorServiceStub(self._connection.channel)
        call = stub.Session(metadata=self._connection.metadata())
        try:
            with _status_is_read():
                await call.write(pb.SessionRequest(items=[pb.ExecutorItem(hello=hello)]))
            first = await self._first_frame(call)
            welcome = first.items[0].welcome
            welcomed(welcome)
            received(first.items[1:])
            await self._exchange(call, welcome, received)
        finally:
            call.cancel()

    async def _exchange(
        self, call: Stream, welcome: pb.Welcome, received: Callable[[Iterable[pb.ServiceItem]], None]
    ) -> None:
        heartbeat_s = welcome.heartbeat_interval_ms / 1000 * HEARTBEAT_SHARE or DEFAULT_HEARTBEAT_S
        # No TaskGroup: one that a child's error has ended leaves its task marked as cancelled on Python 3.11.2, and
        # every timeout of that task then raises CancelledError instead of TimeoutError.
        beating = spawn(self._beat(heartbeat_s), name="podium-session-heartbeat")
        sending = spawn(self._send(call), name="podium-session-send")
        receiving = spawn(self._receive(call, received), name="podium-session-receive")
        try:
            await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (beating, sending, receiving):
                await end(task)
        # Whichever of the two failed first stopped the other; of two failures, reading tells how the stream ended.
        for task in (receiving, sending):
            error = None if task.cancelled() else task.exception()
            if error is not None:
                if isinstance(error, _SessionEnded):
                    return
                raise error

    async def _first_frame(self, call: Stream) -> pb.SessionResponse:
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                frame = await call.read()
        except TimeoutError:
            raise Unavailable("the service does not answer a new session") from None
        if not isinstance(frame, pb.SessionResponse) or not frame.items or not frame.items[0].HasField("welcome"):
            raise Unavailable("the service ended a new session without a welcome")
        return frame

    async def _beat(self, heartbeat_s: float) -> None:
        heartbeat = pb.ExecutorItem(heartbeat=pb.SessionHeartbeat())
        while True:
            await asyncio.sleep(heartbeat_s)
            self._outbox.put_newest("session", heartbeat)

    async def _send(self, call: Stream) -> None:
        with _status_is_read():
            while (frame := await self._outbox.next_frame()) is not None:
                await call.write(frame)
            await call.done_writing()
            await asyncio.sleep(FAREWELL_TIMEOUT_S)
            raise _SessionEnded

    async def _receive(
        self,
        call: Stream,
        received: Callable[[Iterable[pb.ServiceItem]], None],
    ) -> None:
        while isinstance(frame := await call.read(), pb.SessionResponse):
            received(frame.items)
        raise _SessionEnded


def _status_is_read() -> contextlib.AbstractContextManager[None]:
    """Around a write: when the stream is over, it is the read that tells how, where a write only says that it is."""
    return contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError)
