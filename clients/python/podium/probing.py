"""Whether a tool could be run now: a function that its author gives, asked by the service every now and then.

An answer always comes in time, and says nothing of what the function raised but in words that were meant to be told.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeAlias

from podium.durations import Duration, milliseconds
from podium.errors import PodiumError
from podium.interrupts import by_signal
from podium.pool_use import PoolStatistics
from podium.tasks import spawn
from podium.v1 import definition_pb2
from podium.v1 import executor_service_pb2 as pb

if TYPE_CHECKING:
    from podium.tool import Tool

MESSAGE_MAX_CHARS = 1_000
DEFAULT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """What a health function may return: whether the tool could be run, and a word on it for people."""

    healthy: bool
    message: str = ""
    pools: Sequence[PoolStatistics] = ()
    """The pools of connections that the tool uses: the service shows their figures in its metrics."""


HealthFunction: TypeAlias = Callable[[], "Health | bool | Awaitable[Health | bool | None] | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How executors are asked about a tool: `@app.tool(health=ping, probe=podium.Probe(interval="30s"))`."""

    interval: Duration = 30.0
    timeout: Duration = DEFAULT_TIMEOUT_S
    """How long an answer may take."""
    unhealthy_after: int = 3
    """So many failed answers in a row make the tool unhealthy here."""
    healthy_after: int = 1
    """So many good ones make it healthy again."""

    def message(self) -> definition_pb2.Probing:
        """Returns it as the contract writes it. Raises ValueError."""
        interval_ms, timeout_ms = milliseconds(self.interval), milliseconds(self.timeout)
        if not interval_ms or not timeout_ms:
            raise ValueError("a probe's interval and its timeout are more than 0 s")
        if self.unhealthy_after < 1 or self.healthy_after < 1:
            raise ValueError("unhealthy_after and healthy_after are at least 1")
        return definition_pb2.Probing(
            interval_ms=interval_ms,
            timeout_ms=min(timeout_ms, interval_ms),
            unhealthy_after=self.unhealthy_after,
            healthy_after=self.healthy_after,
        )


class Prober:
    """Answers the service's probes.

    Args:
        tools: The tools by name.
        in_thread: Runs a function that is not async.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        in_thread: Callable[[Callable[[], object], str], Awaitable[object]],
    ) -> None:
        self._tools = tools
        self._in_thread = in_thread
        self._answering: set[asyncio.Task[None]] = set()
        self._asking: dict[str, asyncio.Task[Health]] = {}

    def answer(self, probe: pb.ProbeTool, answered: Callable[[pb.ExecutorItem], None]) -> None:
        """Asks the tool's health function in the background, and says what it said."""
        task = spawn(self._answer(probe, answered), name=f"probe of {probe.tool}")
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    def close(self) -> None:
        """Stops asking."""
        for task in (*self._answering, *self._asking.values()):
            task.cancel()

    async def _answer(self, probe: pb.ProbeTool, answered: Callable[[pb.ExecutorItem], None]) -> None:
        health = await self._health(probe.tool, probe.timeout_ms / 1000 or DEFAULT_TIMEOUT_S)
        message = health.message.encode("utf-8", "replace").decode()[:MESSAGE_MAX_CHARS]
        pools = [pb.PoolFigures(**asdict(pool)) for pool in health.pools]
        probed = pb.ToolProbed(probe=probe.probe, healthy=health.healthy, message=message, pools=pools)
        answered(pb.ExecutorItem(probed=probed))

    async def _health(self, name: str, timeout_s: float) -> Health:
        tool = self._tools.get(name)
        if tool is None:
            return Health(healthy=False, message=f"no tool {name} is served here")
        if tool.health is None:
            return Health(healthy=True)
        if name in self._asking:
            # A thread that hangs cannot be stopped; there is never a second one beside it.
            return Health(healthy=False, message="the health function still runs since the last time it was asked")
        self._asking[name] = asking = spawn(self._ask(tool.health, name), name=f"health of {name}")
        asking.add_done_callback(lambda _: self._asking.pop(name, None))
        done, _ = await asyncio.wait({asking}, timeout=timeout_s)
        if not done:
            if inspect.iscoroutinefunction(tool.health):
                asking.cancel()
            return Health(healthy=False, message=f"no answer within {timeout_s:g} s")
        return (
            Health(healthy=False, message="the health function was stopped") if asking.cancelled() else asking.result()
        )

    async def _ask(self, function: HealthFunction, name: str) -> Health:
        try:
            if inspect.iscoroutinefunction(function):
                said = await function()
            else:
                said = await self._in_thread(function, f"health of {name}")
        except asyncio.CancelledError:
            raise
        except PodiumError as error:
            return Health(healthy=False, message=error.message)
        except BaseException as error:
            if by_signal(error):
                raise
            # Whatever it raises, the executor stays. Its words may hold an address or a password.
            return Health(healthy=False, message=f"the health function raised {type(error).__name__}")
        match said:
            case Health():
                return said
            case None | True:
                return Health(healthy=True)
            case False:
                return Health(healthy=False, message="the health function says no")
            case _:
                return Health(healthy=False, message=f"the health function returned a {type(said).__name__}")
