"""What a turn finds: events to record, and what is to be done once they are durable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from podium.v1 import definition_pb2, executor_service_pb2, value_pb2
from service.admission.guards import AttemptEnd
from service.admission.verdicts import Wait
from service.domain.effects import Run
from service.engine.dispatch import Executor
from service.engine.keys import StepKey, ToolVersion
from service.engine.resident import Reply, Resident
from store.contract import NewEvent, StreamAppend


@dataclass(frozen=True, slots=True)
class Timing:
    """Default bounds of an attempt, in milliseconds."""

    start_to_close_ms: int = 300_000
    schedule_to_start_ms: int = 600_000


class Pinned(NamedTuple):
    """The version of a tool that steps are pinned to."""

    version: ToolVersion
    definition: definition_pb2.ToolDefinition


class Assigned(NamedTuple):
    """An attempt that is to be sent to its executor once it is durable."""

    executor: Executor
    tool: ToolVersion
    item: executor_service_pb2.ServiceItem
    heartbeat_ms: int


@dataclass(slots=True)
class Turn:
    """What a turn found."""

    resident: Resident
    now_us: int
    until_us: int = 0
    """By the clock of what the thread has worked: what begins later is left to the next turn."""
    events: list[NewEvent] = field(default_factory=list)
    beside: list[StreamAppend] = field(default_factory=list)
    """What guards have on record in other streams of the tenant because of these events, in the same append."""
    replies: list[tuple[Reply, Exception | None]] = field(default_factory=list)
    assigned: list[Assigned] = field(default_factory=list)
    ended: list[AttemptEnd] = field(default_factory=list)
    """Attempts whose outcome it found."""
    queued: list[tuple[StepKey, ToolVersion]] = field(default_factory=list)
    running: list[Run] = field(default_factory=list)
    settled: list[StepKey] = field(default_factory=list)
    successes: list[int] = field(default_factory=list)
    """Which of the events are successes of attempts."""
    delayed: dict[StepKey, tuple[ToolVersion, Wait]] = field(default_factory=dict)
    """Queued steps about which a guard wants to be asked again only at a time."""
    admissions: int = 0
    """How many steps it has admitted."""
    is_cut: bool = False
    """It read so much that the rest is left to the next turn."""
    missing: value_pb2.PayloadReference | None = None
    """A stored value that must be loaded before the turn can go on."""
