"""What the process says of itself: how full it is, and to health checks whether it serves.

Invariant: it is called serving only while it may own the log, and not while it is full; see service.readiness.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable
from pathlib import Path

from grpc_health.v1 import health, health_pb2

from service.api.service_names import SERVICE_NAMES
from service.api.status_components import loop_component, memory_component
from service.cgroups import memory_limit_bytes
from service.engine.engine import Engine
from service.engine.load import Load, LoopLag, MemoryFill, keep_looking
from service.readiness import Readiness
from store.contract import EventStore

logger = logging.getLogger(__name__)

_STATM = Path("/proc/self/statm")
_STATUS = health_pb2.HealthCheckResponse


class Serving:
    """Looks at the load and at the log's ownership, and tells health checks."""

    def __init__(self, engine: Engine, store: EventStore, memory_bytes: int, chance: Callable[[], float]) -> None:
        """`memory_bytes` is what the process may have, 0: what its group may; `chance` a random number in [0, 1)."""
        self._store = store
        self.lag = LoopLag()
        memory = MemoryFill(memory_bytes or memory_limit_bytes(), resident_bytes)
        self.load = Load([self.lag, lambda: engine.fill, lambda: store.fill, memory], chance)
        self._readiness = Readiness()
        self.serves = True
        """What health checks are told."""
        self.components = [loop_component(self.lag), memory_component(memory)]

    async def run(self, told: health.aio.HealthServicer) -> None:
        """Tell `told` whenever the service begins or ceases to serve, until cancelled."""
        loop = asyncio.get_running_loop()
        async for level in keep_looking(self.load, self.lag):
            now_serves = self._readiness.look(level, loop.time(), owns_log=self._store.is_current)
            if now_serves != self.serves:
                owns = "owns the log" if self._store.is_current else "may not own the log"
                logger.warning("serving=%s: the load is %.2f, and the process %s", now_serves, level, owns)
                self.serves = now_serves
                for name in ("", *SERVICE_NAMES):
                    await told.set(name, _STATUS.SERVING if now_serves else _STATUS.NOT_SERVING)


def resident_bytes() -> int:
    """The memory that the process has now; where that cannot be read, the most it ever had."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
