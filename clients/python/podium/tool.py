"""A tool: a function, and what is declared about it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from podium.batching import Batch
from podium.caching import Caching
from podium.durations import Duration, milliseconds
from podium.probing import HealthFunction, Probe
from podium.signature import Signature, description
from podium.v1 import definition_pb2

Function: TypeAlias = Callable[..., object]
Isolation: TypeAlias = Literal["thread", "process"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Kind(Enum):
    """How a function is called."""

    COROUTINE = "async function"
    ASYNC_GENERATOR = "async generator"
    FUNCTION = "function"
    GENERATOR = "generator"

    @classmethod
    def of(cls, function: Function) -> Kind:
        """Returns how this function is called."""
        if inspect.isasyncgenfunction(function):
            return cls.ASYNC_GENERATOR
        if inspect.iscoroutinefunction(function):
            return cls.COROUTINE
        return cls.GENERATOR if inspect.isgeneratorfunction(function) else cls.FUNCTION

    @property
    def on_loop(self) -> bool:
        """Whether it runs on the executor's own event loop."""
        return self is Kind.COROUTINE or self is Kind.ASYNC_GENERATOR

    @property
    def streams(self) -> bool:
        """Whether it hands its result over in pieces."""
        return self is Kind.ASYNC_GENERATOR or self is Kind.GENERATOR


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that executors serve."""

    function: Function
    kind: Kind
    signature: Signature
    definition: definition_pb2.ToolDefinition
    isolation: Isolation
    name: str
    """What it is called by."""
    batch: Batch | None = None
    """How its calls are gathered; None: each is a call of the function."""
    health: HealthFunction | None = None
    """Tells whether it could be run now."""

    @property
    def in_thread(self) -> bool:
        """Whether it runs in a thread, which nothing can stop."""
        return not self.kind.on_loop and self.isolation == "thread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a tool's author says about it beside its code."""

    name: str | None = None
    description: str | None = None
    permissions: Iterable[str] = ()
    secrets: Iterable[str] = ()
    read_only: bool = False
    idempotent: bool = False
    timeout: Duration | None = None
    heartbeat: Duration | None = None
    streams_output: bool = False
    isolation: Isolation = "thread"
    caching: Caching | None = None
    batch: Batch | None = None
    health: HealthFunction | None = None
    probe: Probe | None = None

    def tool(self, function: Function) -> Tool:
        """Returns the tool; raises TypeError or ValueError when function and declaration do not fit."""
        kind = Kind.of(function)
        name = self.name or str(getattr(function, "__name__", ""))
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no tool name: 1 to 64 of A-Z a-z 0-9 _ -, so that every model accepts it")
        if isinstance(self.permissions, str) or isinstance(self.secrets, str):
            raise TypeError(f"{name}: permissions and secrets are lists of names, not one string")
        if self.streams_output and not kind.streams:
            raise TypeError(f"{name}: only a generator streams its output")
        if self.isolation == "process" and kind.on_loop:
            raise TypeError(f"{name}: an {kind.value} runs on the executor's loop; only others run in a process")
        self._check_resilience(name, kind)
        signature = Signature.of_batch(function) if self.batch else Signature.of(function)
        probe = self.probe or Probe()
        definition = definition_pb2.ToolDefinition(
            name=name,
            description=description(function) if self.description is None else self.description,
            input_schema_json=signature.input_schema_json,
            output_schema_json=signature.output_schema_json,
            permissions=sorted(set(self.permissions)),
            read_only=self.read_only,
            idempotent=self.idempotent,
            timeout_ms=milliseconds(self.timeout),
            heartbeat_timeout_ms=milliseconds(self.heartbeat),
            streams_output=self.streams_output,
            secrets=sorted(set(self.secrets)),
            caching=self.caching.message() if self.caching else None,
            batching=self.batch.message() if self.batch else None,
            probing=probe.message() if self.health else None,
        )
        return Tool(function, kind, signature, definition, self.isolation, name, self.batch, self.health)

    def _check_resilience(self, name: str, kind: Kind) -> None:
        if self.caching and not self.read_only:
            raise ValueError(f"{name}: only what changes nothing is cached: say read_only=True, or leave caching out")
        if self.batch and (kind.streams or self.isolation == "process"):
            raise TypeError(f"{name}: a batch is taken by a function that returns, on the loop or in a thread")
        if self.probe and not self.health:
            raise ValueError(f"{name}: a probe asks a health function; give one with health=")
