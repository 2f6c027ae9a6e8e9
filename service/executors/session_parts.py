"""What the sessions of executors work with, put together by the composition root."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from podium.v1 import definition_pb2, events_pb2
from service.admission.json_bounds import JsonBounds
from service.engine.dispatch import Executor
from service.engine.engine import Engine
from service.engine.journal import Journal
from service.engine.payloads import PayloadCache
from service.engine.timers import Clock
from service.executors.output_rules import OutputRules
from service.executors.outputs import Outputs, SealerOf
from service.executors.probing import Probes
from store.contract import EventStore, RecordedEvent

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Bounds on what an executor may send."""

    inline_bytes: int = 64 * 1024
    chunk_bytes: int = 64 * 1024
    json: JsonBounds = field(default_factory=JsonBounds)


@dataclass(slots=True)
class SessionParts:
    """What a session works with."""

    engine: Engine
    store: EventStore
    payloads: PayloadCache
    clock: Clock
    chance: Callable[[], float]
    definition: Callable[[str, str, int], definition_pb2.ToolDefinition | None]
    """Finds a version of a tool by tenant, name and version."""
    spawn: Callable[[Coroutine[Any, Any, object]], None]
    limits: SessionLimits
    journal: Journal
    rules: OutputRules
    sealer_of: SealerOf = lambda _tool: None


def outputs_of(parts: SessionParts) -> Outputs:
    """What outputs go through."""
    return Outputs(
        parts.store,
        parts.payloads,
        parts.sealer_of,
        parts.rules,
        inline_limit_bytes=parts.limits.inline_bytes,
        payload_limit_bytes=parts.limits.json.size_bytes,
    )


def probes_of(executor: Executor, parts: SessionParts) -> Probes | None:
    """The questions to an executor about its tools; None: none of them asks for any."""
    definitions = [parts.definition(executor.tenant, *served) for served in executor.serves.items()]
    probing = {each.name: each.probing for each in definitions if each is not None and each.HasField("probing")}
    if not probing:
        return None

    def changed(event: events_pb2.ToolHealthChanged, then: Callable[[], None]) -> None:
        def recorded(outcome: asyncio.Future[RecordedEvent]) -> None:
            if not outcome.cancelled() and (error := outcome.exception()) is not None:
                logger.warning("the health of %s could not be recorded: %s", event.tool, error)

        appended = parts.journal.submit(executor.tenant, f"health/{event.tool}", event, fold=lambda _: then())
        appended.add_done_callback(recorded)

    return Probes(
        executor,
        probing,
        parts.clock,
        parts.chance,
        changed,
        fit_again=lambda tool: parts.engine.dispatcher.serve_tool(executor.tenant, tool),
    )
