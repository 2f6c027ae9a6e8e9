"""What the sessions of executors work with, put together by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from podium.v1 import definition_pb2
from service.admission.json_bounds import JsonBounds
from service.engine.engine import Engine
from service.engine.payloads import PayloadCache
from service.engine.timers import Clock
from service.executors.output_rules import OutputRules
from service.executors.outputs import Outputs, SealerOf
from store.contract import EventStore


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
