"""Turns traces and metrics on. While they are off nothing of them is imported, and nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from service.admission.bulkhead import BulkheadGuard
from service.admission.result_cache import ResultCache
from service.engine.breakers import Breakers
from service.engine.engine import Engine
from service.engine.load import Load, LoopLag
from service.projections.runner import ProjectionRunner
from service.settings.listening import Listening
from service.settings.telemetry import TelemetrySettings
from store.contract import Clock
from store.event_log import EventLog


class MetricsUnavailable(Exception):
    """The metrics cannot be served where they should be."""


@dataclass(slots=True)
class Observed:
    """What is told of."""

    engine: Engine
    store: EventLog
    runners: Sequence[ProjectionRunner]
    sessions: Callable[[], int]
    waiting_appends_limit: int
    resident_limit: int
    load: Load
    lag: LoopLag
    cache: ResultCache
    bulkheads: BulkheadGuard
    breakers: Breakers


class Telemetry(Protocol):
    """What a service tells of itself."""

    def start(self, stack: AsyncExitStack, observed: Observed) -> None:
        """Tell of a service that is put together; until the stack closes."""


def telemetry_of(
    settings: TelemetrySettings,
    listening: Listening,
    clock: Clock,
    spawn: Callable[[Coroutine[Any, Any, object]], None],
) -> Telemetry | None:
    """What the settings ask for; None: nothing. Raises MetricsUnavailable."""
    if not settings.is_on:
        return None
    # Two libraries and half a dozen modules, for those alone who use them.
    from service.telemetry.telemetry import Telemetry as Made  # noqa: PLC0415 - explained

    return Made(settings, listening, clock, spawn)
