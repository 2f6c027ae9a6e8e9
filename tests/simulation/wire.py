"""A connection between an executor and the service, as TCP makes one: in order, and never a frame twice.

When it breaks, each side notices at its own time; what is in flight towards a side that has noticed is lost.
"""

import asyncio

from podium.v1 import executor_service_pb2 as pb
from service.domain.errors import DomainError

LATENCY_S = (0.001, 0.03)


class Direction:
    """One way."""

    def __init__(self, loop, chance):
        self._loop = loop
        self._chance = chance
        self._arrived = asyncio.Queue()
        self._last_s = 0.0
        self.is_over = False

    def send(self, frame):
        """Put a frame on its way; it arrives after those before it."""
        if not self.is_over:
            # As bytes, because neither side may see what the other does to its message.
            self._later(frame.SerializeToString())

    def finish(self):
        """End after what is on its way."""
        self._later(None)

    def cut(self):
        """End at once: what is on its way is lost."""
        self.is_over = True
        self._arrived.put_nowait(None)

    def _later(self, data):
        at_s = self._loop.time() + self._chance.uniform(*LATENCY_S)
        self._last_s = max(at_s, self._last_s + 0.000_002)
        self._loop.call_at(self._last_s, self._arrive, data)

    def _arrive(self, data):
        if not self.is_over:
            self._arrived.put_nowait(data)

    async def receive(self):
        """The next frame's bytes; None: there is no more."""
        data = None if self.is_over else await self._arrived.get()
        if data is None or self.is_over:
            self.is_over = True
            return None
        return data


class Connection:
    """One session's stream, with the service's handler at its end."""

    def __init__(self, loop, chance, life, subject):
        self._loop = loop
        self._to_service = Direction(loop, chance)
        self._to_executor = Direction(loop, chance)
        self._handler = life.spawn(self._handle(life), subject)

    # The executor's side.

    def send(self, *items):
        self._to_service.send(pb.SessionRequest(items=items))

    async def receive(self):
        """The next frame's items; None: the connection is over."""
        data = await self._to_executor.receive()
        return None if data is None else pb.SessionResponse.FromString(data).items

    def half_close(self):
        self._to_service.finish()

    def break_for_executor(self):
        """The executor sees that the connection is gone. What it sent may still arrive."""
        self._to_executor.cut()

    def break_for_service(self):
        """The service sees that the connection is gone: gRPC cancels the handler."""
        self._to_service.is_over = True
        self._handler.cancel()

    # The service's side.

    async def _handle(self, life):
        frames = life.executors.Session(self._requests(), None)
        try:
            async for frame in frames:
                self._to_executor.send(frame)
        except DomainError:
            pass
        finally:
            await frames.aclose()
            self._to_executor.finish()

    async def _requests(self):
        while (data := await self._to_service.receive()) is not None:
            yield pb.SessionRequest.FromString(data)
