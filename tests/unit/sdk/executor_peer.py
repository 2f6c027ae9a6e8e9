"""The other side of ExecutorService, played by a test: a real server on 127.0.0.1 that does what the test says."""

# The contract names the methods.
# ruff: noqa: N802

import asyncio
import contextlib

import grpc
import grpc.aio

from podium.connection import open_connection
from podium.discovery import Target
from podium.v1 import executor_service_pb2 as pb
from podium.v1 import executor_service_pb2_grpc, value_pb2

WITHIN_S = 10.0


class PeerSession:
    """One session that an executor opened."""

    def __init__(self, context):
        self.metadata = dict(context.invocation_metadata())
        self.frames = []
        self._context = context
        self._items = asyncio.Queue()
        self._ended = asyncio.Event()
        self.half_closed = asyncio.Event()
        self._outcomes = []
        self._lets_go = False

    async def play(self):
        """Reads what comes until the test or the executor ends the session."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read())
            await self._ended.wait()
            reading.cancel()

    async def _read(self):
        while (frame := await self._context.read()) is not grpc.aio.EOF:
            self.frames.append(frame)
            for item in frame.items:
                self._items.put_nowait(item)
                if item.WhichOneof("item") in {"result", "failure"}:
                    self._outcomes.append(item.result if item.HasField("result") else item.failure)
            if self._lets_go:
                await self._acknowledge_all()
        self.half_closed.set()
        self._ended.set()

    async def send(self, **items):
        """Sends one frame with these items, each a kind and its message."""
        await self.send_items(*items.items())

    async def send_items(self, *items):
        await self._context.write(pb.SessionResponse(items=[pb.ServiceItem(**{kind: item}) for kind, item in items]))

    async def next(self, kind=""):
        """Returns the next item that is no session heartbeat, unless that is what is asked for."""
        async with asyncio.timeout(WITHIN_S):
            while (item := await self._items.get()).HasField("heartbeat") and kind != "heartbeat":
                pass
        return item

    async def receive(self, kind):
        """Returns the next item that is no session heartbeat; it must be of this kind."""
        item = await self.next(kind)
        assert item.WhichOneof("item") == kind, item
        return getattr(item, kind)

    async def welcome(self, **fields):
        """Answers the hello, which it returns."""
        hello = await self.receive("hello")
        defaults = {"session_id": "s", "heartbeat_interval_ms": 60_000, "inline_limit_bytes": 1024}
        await self.send(welcome=pb.Welcome(**{**defaults, "chunk_limit_bytes": 64, **fields}))
        return hello

    async def acknowledge(self, outcome, *, accepted=True):
        await self.send(
            outcome_acknowledged=pb.OutcomeAcknowledged(attempt=outcome.attempt, accepted=accepted, reason="")
        )

    async def let_go(self):
        """Acknowledges every outcome from now on, so that the executor need not wait to leave."""
        self._lets_go = True
        if not self._ended.is_set():
            await self._acknowledge_all()

    async def _acknowledge_all(self):
        while self._outcomes:
            await self.acknowledge(self._outcomes.pop())

    def end(self):
        """Ends the stream, as a service that restarts does."""
        self._ended.set()


class Peer(executor_service_pb2_grpc.ExecutorServiceServicer):
    """A service without anything behind it."""

    def __init__(self):
        self.address = ""
        self.uploads = []
        self.newest = None
        self.arguments = {}
        self._sessions = asyncio.Queue()
        self._refusals = []

    async def session(self):
        """Returns the next session that an executor opens."""
        async with asyncio.timeout(WITHIN_S):
            return await self._sessions.get()

    def refuse_next(self, code, details):
        self._refusals.append((code, details))

    async def Session(self, request_iterator, context):
        if self._refusals:
            await context.abort(*self._refusals.pop(0))
        session = PeerSession(context)
        self._sessions.put_nowait(session)
        self.newest = session
        await session.play()
        if not session.half_closed.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the peer ended the session")

    async def Upload(self, request_iterator, context):
        requests = [request async for request in request_iterator]
        parts = [request.data for request in requests]
        self.uploads.append(parts)
        assert [request.HasField("attempt") for request in requests] == [True] + [False] * (len(requests) - 1)
        size = sum(map(len, parts))
        if size > 3 * 1024 * 1024:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "too large")
        return pb.UploadResponse(payload=value_pb2.PayloadReference(digest=b"digest", size_bytes=size))

    async def GetArguments(self, request, context):
        return pb.GetArgumentsResponse(arguments_json=self.arguments[request.attempt.step_id])


@contextlib.asynccontextmanager
async def running_peer():
    """A peer that listens, for the life of the block."""
    peer = Peer()
    server = grpc.aio.server()
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(peer, server)
    peer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield peer
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def connected(address, token="t"):
    connection = open_connection(Target(address, token))
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def serving(app, peer, **welcome):
    """The executor serves and was welcomed; gives the session. The peer lets go of it at the end."""
    async with connected(peer.address) as connection, asyncio.TaskGroup() as group:
        run = group.create_task(_attached(app, connection))
        session = await peer.session()
        await session.welcome(**welcome)
        try:
            yield session
        finally:
            await peer.newest.let_go()
            run.cancel()


async def _attached(app, connection):
    async with app.attached(connection):
        await asyncio.get_running_loop().create_future()


def assignment(tool, arguments="{}", *, step="step_1", attempt=1, fence=1, **more):
    reference = pb.AttemptReference(workflow_id="wf", step_id=step, attempt=attempt, fence=fence)
    return pb.Assignment(
        attempt=reference, tool=tool, arguments_json=arguments, idempotency_key=f"wf/{step}", tenant="acme", **more
    )
