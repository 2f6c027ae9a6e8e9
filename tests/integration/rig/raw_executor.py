"""An executor that says exactly what a test wants it to say, frame by frame, on a real session."""

import asyncio
import contextlib
import json

import grpc.aio

from podium.v1 import definition_pb2, executor_service_pb2, value_pb2

WITHIN_S = 15.0
ANY_OBJECT = '{"type": "object"}'


def tool(name, **fields):
    """A tool that takes any object."""
    return definition_pb2.ToolDefinition(name=name, **{"input_schema_json": ANY_OBJECT, **fields})


class RawExecutor:
    """One session. What comes is kept until it is asked for, in order."""

    def __init__(self, stream):
        self.stream = stream
        self.welcome = None
        self.held = {}
        self._items = []
        self._write = asyncio.Lock()

    async def send(self, *items):
        """Sends one frame of items, each a pair of its kind and its message."""
        frame = executor_service_pb2.SessionRequest(
            items=[executor_service_pb2.ExecutorItem(**{kind: message}) for kind, message in items]
        )
        async with self._write:
            await self.stream.write(frame)

    async def next(self):
        """The next item from the service, as its kind and its message; None: the service has ended the session."""
        async with asyncio.timeout(WITHIN_S):
            while not self._items:
                frame = await self.stream.read()
                if frame is grpc.aio.EOF:
                    return None
                kinds = [(item.WhichOneof("item"), item) for item in frame.items]
                self._items.extend((kind, getattr(item, kind)) for kind, item in kinds)
        return self._items.pop(0)

    async def expect(self, kind):
        """The next item of this kind. What comes before it stays for whoever asks for it."""
        passed = []
        while (found := await self.next()) is not None and found[0] != kind:
            passed.append(found)
        self._items[:0] = passed
        assert found is not None, f"the session ended before any {kind}"
        return found[1]

    async def work(self):
        """The next assignment."""
        return await self.expect("assign")

    async def succeed(self, attempt, output=None, *, chunk_count=0):
        """Sends a result, as a value or as what it is made of."""
        result = executor_service_pb2.AttemptResult(attempt=attempt, chunk_count=chunk_count)
        if isinstance(output, value_pb2.Value):
            result.output.CopyFrom(output)
        elif output is not None:
            result.output.json = json.dumps(output)
        await self.send(("result", result))

    async def fail(self, attempt, reason="TOOL_ERROR", **fields):
        """Sends a failure."""
        failure = value_pb2.Failure(reason=reason, **fields)
        await self.send(("failure", executor_service_pb2.AttemptFailure(attempt=attempt, failure=failure)))

    async def chunk(self, attempt, sequence, data):
        """Sends a piece of streamed output."""
        piece = executor_service_pb2.AttemptChunk(attempt=attempt, sequence=sequence, data=data)
        await self.send(("chunk", piece))

    async def beat(self, interval_s):
        """Shows that the process is alive, until it is cancelled or the session is over."""
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            async for _ in _ticks(interval_s):
                await self.send(("heartbeat", executor_service_pb2.SessionHeartbeat()))


async def _ticks(interval_s):
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await asyncio.Event().wait()
        yield


@contextlib.asynccontextmanager
async def raw_executor(caller, *tools, beating=True, **fields):
    """Opens a session of an executor that serves these tools, named or defined."""
    definitions = [tool(each) if isinstance(each, str) else each for each in tools]
    told = {"executor": "raw", "instance_id": "raw-1", "max_attempts": 4, **fields}
    hello = executor_service_pb2.Hello(tools=definitions, **told)
    try:
        executor = await _opened(caller, hello)
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.INTERNAL or error.trailing_metadata():
            raise
        # The status of a stream that ends while it is written to is lost by grpc.aio, which makes this one up.
        executor = await _opened(caller, hello)
    try:
        executor.held = {
            (verdict.attempt.workflow_id, verdict.attempt.step_id): verdict for verdict in executor.welcome.held
        }
        async with asyncio.TaskGroup() as group:
            beats = group.create_task(
                executor.beat(executor.welcome.heartbeat_interval_ms / 2000) if beating else _no()
            )
            try:
                yield executor
            finally:
                beats.cancel()
    finally:
        executor.stream.cancel()


async def _opened(caller, hello):
    stream = caller.executors.Session(timeout=None)
    executor = RawExecutor(stream)
    try:
        await executor.send(("hello", hello))
        executor.welcome = await executor.expect("welcome")
    except BaseException:
        stream.cancel()
        raise
    return executor


async def _no():
    """Beats not at all."""
