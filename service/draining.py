"""The end of a service in order: nothing new begins, what runs may end and be recorded, and then all is let go.

Invariant: it takes no longer than it may. What has not ended by then is ended, which loses nothing: what was
acknowledged is durable, and attempts that still run are claimed by their executors when the service is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import grpc.aio
from grpc_health.v1 import health

from service.access import Access
from service.api.draining import Draining, stopping
from service.api.executor_servicer import ExecutorServicer
from service.engine.engine import Engine
from service.projections.generation import ProjectionError
from service.projections.runner import ProjectionRunner
from service.resilience import Resilience

_LOOK_S = 0.01
"""How often it is looked whether what is waited for has come: nobody else has to know that somebody waits."""
_LETTING_GO_PART, _LETTING_GO_MAX_S = 0.2, 1.0
"""What part of the time is kept for answers, refusals and read models after the last attempt, and at most how much."""


@dataclass(frozen=True, slots=True)
class Drain:
    """What is drained."""

    health: health.aio.HealthServicer
    guard: Draining
    engine: Engine
    executors: ExecutorServicer
    access: Access
    resilience: Resilience
    runners: Sequence[ProjectionRunner]
    server: grpc.aio.Server
    hurry: asyncio.Event
    """Once set, nothing is waited for any more."""

    async def run(self, within_s: float) -> None:
        """Drain within a time, in seconds."""
        ends_at = self._now() + within_s
        letting_go_at = ends_at - min(within_s * _LETTING_GO_PART, _LETTING_GO_MAX_S)
        await self.health.enter_graceful_shutdown()
        self.guard.has_begun = True
        self.engine.dispatcher.stop()
        # What was started just now is sent before an executor hears that nothing more will come, and leaves.
        await self._until(lambda: not self.executors.promised, letting_go_at)
        self.executors.drain()
        await self._until(lambda: not self.executors.holding, letting_go_at)
        await self._until(lambda: self.engine.is_idle, letting_go_at)
        self.executors.finish()
        await self._until(lambda: not len(self.executors), ends_at)
        self.engine.end_waits(stopping)
        self.access.streams.end_all(stopping)
        await self.server.stop(self._left_s(ends_at))
        await self.access.drain()
        await self.resilience.drain()
        for runner in self.runners:
            # Each batch is applied together with its checkpoint; this only spares the next start the rest.
            with suppress(ProjectionError):
                await runner.wait_for(self.engine.head, self._left_s(ends_at))

    async def _until(self, is_over: Callable[[], bool], by: float) -> None:
        while not is_over() and not self.hurry.is_set() and self._now() < by:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self.hurry.wait()

    def _left_s(self, ends_at: float) -> float:
        return 0.0 if self.hurry.is_set() else max(0.0, ends_at - self._now())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
