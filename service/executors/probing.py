"""Asks an executor at intervals whether it can run its tools now, and tells what changes.

Invariant: one question about a tool is open at a time. It counts as answered with no when its time is over, and an
answer that comes later counts for nothing. That a tool's health changed takes effect once it is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from podium.v1 import definition_pb2, events_pb2
from podium.v1 import executor_service_pb2 as wire
from service.domain.tool_health import ToolHealth
from service.engine.dispatch import Executor
from service.engine.timers import Clock, Timers

_US_PER_MS = 1000
INTERVAL_MIN_MS = 20
"""Nobody is asked more often."""
_MESSAGE_LENGTH = 256
"""Characters of why a tool cannot be run."""
_POOLS_MAX = 32
"""Pools of a tool whose figures are kept."""
_POOL_NAME_LENGTH = 64
_JITTER = 0.2
"""The part of an interval that is random, so that not all executors are asked at once."""
_TIMED_OUT = "no answer in time"

Changed = Callable[[events_pb2.ToolHealthChanged, Callable[[], None]], None]
"""Records a change, and calls what follows from it once that is durable."""


class _Probed:
    """A tool that is asked about."""

    __slots__ = ("asked_us", "health", "interval_us", "open_probe", "timeout_us")

    def __init__(self, probing: definition_pb2.Probing) -> None:
        self.health = ToolHealth(probing)
        interval_ms = max(probing.interval_ms, INTERVAL_MIN_MS)
        self.interval_us = interval_ms * _US_PER_MS
        self.timeout_us = min(probing.timeout_ms or interval_ms, interval_ms) * _US_PER_MS
        self.open_probe = 0
        """The number of the question that is not answered; 0: none."""
        self.asked_us = 0


class Probes:
    """The questions to one executor."""

    def __init__(
        self,
        executor: Executor,
        tools: Mapping[str, definition_pb2.Probing],
        clock: Clock,
        chance: Callable[[], float],
        changed: Changed,
        *,
        fit_again: Callable[[str], None],
    ) -> None:
        """`tools` are those that are asked about; `fit_again` is called with one that can be run again."""
        self._executor = executor
        self._clock = clock
        self._chance = chance
        self._changed = changed
        self._fit_again = fit_again
        self._tools = {name: _Probed(probing) for name, probing in tools.items() if probing.interval_ms}
        self._open: dict[int, str] = {}
        self._last_probe = 0
        self._timers: Timers[str] = Timers(clock, self._due)

    def begin(self) -> None:
        """Ask, each tool for the first time within its interval."""
        now_us = self._clock.now_us()
        for name, probed in self._tools.items():
            self._timers.set(name, now_us + int(probed.interval_us * self._chance()))

    def end(self) -> None:
        """Ask no more."""
        self._timers.close()
        self._open.clear()

    def answered(self, answer: wire.ToolProbed, told: Callable[[str, int], str]) -> None:
        """Take an answer; `told` gives a text of the executor's as it may be told, no longer than this."""
        name = self._open.pop(answer.probe, None)
        if name is not None:
            pools = answer.pools[:_POOLS_MAX]
            self._executor.pools[name] = {told(pool.name, _POOL_NAME_LENGTH): pool for pool in pools}
            self._settle(name, healthy=answer.healthy, message=told(answer.message, _MESSAGE_LENGTH))

    def _due(self, name: str) -> None:
        probed = self._tools[name]
        if self._open.pop(probed.open_probe, None) is not None:
            self._executor.pools.pop(name, None)
            self._settle(name, healthy=False, message=_TIMED_OUT)
            return
        self._last_probe += 1
        probed.open_probe = self._last_probe
        probed.asked_us = self._clock.now_us()
        self._open[probed.open_probe] = name
        self._timers.set(name, probed.asked_us + probed.timeout_us)
        probe = wire.ProbeTool(probe=probed.open_probe, tool=name, timeout_ms=probed.timeout_us // _US_PER_MS)
        self._executor.session.send(wire.ServiceItem(probe=probe))

    def _settle(self, name: str, *, healthy: bool, message: str) -> None:
        probed = self._tools[name]
        probed.open_probe = 0
        self._timers.clear(name)
        wait_us = int(probed.interval_us * (1 - _JITTER * self._chance()))
        self._timers.set(name, max(self._clock.now_us(), probed.asked_us + wait_us))
        self._executor.probed[name] = (probed.asked_us, message)
        answers = probed.health.answered(healthy=healthy)
        if not answers:
            return
        session = self._executor.session
        event = events_pb2.ToolHealthChanged(
            tool=name,
            executor=session.executor,
            session_id=session.session_id,
            healthy=healthy,
            answers=answers,
            message="" if healthy else message,
        )
        self._changed(event, lambda: self._take_effect(name, healthy=healthy, message=message))

    def _take_effect(self, name: str, *, healthy: bool, message: str) -> None:
        if not healthy:
            self._executor.unfit[name] = message
        elif self._executor.unfit.pop(name, None) is not None:
            self._fit_again(name)
