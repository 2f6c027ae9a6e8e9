"""An executor that misbehaves, played by hand: `python -m` this module ADDRESS TOKEN NAME, until it is ended.

It answers, answers late, answers twice, answers with a fence that is not its own, never answers, and goes away without
a word every few seconds.
"""

import asyncio
import contextlib
import itertools
import random
import sys

import grpc.aio

from podium.v1 import executor_service_pb2 as wire
from service.tasks import Tasks
from tests.faults.pauses import pass_time
from tests.integration.rig.caller import Caller
from tests.integration.rig.raw_executor import tool

LATE_S = 1.6
"""Longer than an attempt of the odd tool may take."""
BEAT_S = 0.5
GONE = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


class OddExecutor:
    """Serves `odd` on sessions that it plays by hand."""

    def __init__(self, caller, name):
        self._caller = caller
        self._name = name
        self._chance = random.Random(name)
        self._numbers = itertools.count(1)

    async def run(self):
        """Until it is cancelled: a session after the other."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 + 3 * self._chance.random()):
                    await self._one_session()
            await pass_time(0.1)

    async def _one_session(self):
        stream = _Stream(self._caller.executors.Session(timeout=None))
        try:
            hello = wire.Hello(
                executor=self._name,
                instance_id=f"{self._name}-{next(self._numbers)}",
                tools=[tool("odd")],
                max_attempts=16,
            )
            await stream.say(hello=hello)
            async with Tasks() as tasks:
                tasks.spawn(self._beat(stream))
                while (frame := await stream.read()) is not grpc.aio.EOF:
                    for item in frame.items:
                        if item.WhichOneof("item") == "assign":
                            tasks.spawn(self._act(stream, item.assign.attempt))
        except GONE:
            # The service has ended the session.
            pass
        finally:
            await stream.end()

    async def _beat(self, stream):
        while not stream.is_gone:
            await pass_time(BEAT_S)
            await stream.say(heartbeat=wire.SessionHeartbeat())

    async def _act(self, stream, attempt):
        how = self._chance.choice(["well", "well", "late", "twice", "stale", "never"])
        if how == "never":
            return
        if how == "late":
            await pass_time(LATE_S)
        if how == "stale":
            old = wire.AttemptReference()
            old.CopyFrom(attempt)
            old.fence -= 1
            await stream.say(result=wire.AttemptResult(attempt=old))
        for _ in range(2 if how == "twice" else 1):
            await stream.say(result=wire.AttemptResult(attempt=attempt))


class _Stream:
    """A session's stream, on which one writes at a time."""

    def __init__(self, call):
        self._call = call
        self._writing = asyncio.Lock()
        self.read = call.read
        self.is_gone = False

    async def end(self):
        """Goes away without a word."""
        self._call.cancel()
        await self._call.code()

    async def say(self, **item):
        """Says something, unless nobody listens any more."""
        try:
            async with self._writing:
                await self._call.write(wire.SessionRequest(items=[wire.ExecutorItem(**item)]))
        except GONE:
            self.is_gone = True


async def misbehave(address, token, name):
    await OddExecutor(Caller(address, token), name).run()


if __name__ == "__main__":
    asyncio.run(misbehave(*sys.argv[1:]))
