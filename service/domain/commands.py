"""The commands of a workflow: what someone wants, with the time and the chance it needs as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podium.v1 import definition_pb2, events_pb2, value_pb2


@dataclass(frozen=True, slots=True)
class StartWorkflow:
    """Begin a workflow with these steps, already validated and in their normal form."""

    now_us: int
    name: str
    input: value_pb2.Value | None
    steps: Sequence[definition_pb2.StepDefinition]
    authority: value_pb2.Authority
    open: bool = False
    max_parallel: int = 0
    timeout_ms: int = 0
    request_digest: bytes = b""
    kind: int = events_pb2.WORKFLOW_KIND_WORKFLOW
    cancel_grace_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class AddSteps:
    """Add validated steps to an open workflow."""

    now_us: int
    steps: Sequence[definition_pb2.StepDefinition]
    authority: value_pb2.Authority
    request_id: str = ""
    request_digest: bytes = b""


@dataclass(frozen=True, slots=True)
class FinishWorkflow:
    """Say that no more steps will be added."""

    now_us: int
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class CancelWorkflow:
    """Ask for the workflow to end."""

    now_us: int
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Advance:
    """Settle what can be settled: conditions, joins, expansions, the workflow's end."""

    now_us: int


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Admission allowed a step and an executor has a place for it."""

    now_us: int
    step_id: str
    check: events_pb2.PermissionChecked
    executor: str
    session_id: str
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class QueueStep:
    """Admission allowed a step but no executor has a place."""

    now_us: int
    step_id: str
    waits_for: str
    schedule_to_start_ms: int


@dataclass(frozen=True, slots=True)
class DenyStep:
    """Admission refused a step, or its arguments could not be made."""

    now_us: int
    step_id: str
    guard: str
    failure: value_pb2.Failure
    check: events_pb2.PermissionChecked | None = None
    rejected: events_pb2.InputRejected | None = None


@dataclass(frozen=True, slots=True)
class AnswerStep:
    """Admission knows the output without running anything."""

    now_us: int
    step_id: str
    check: events_pb2.PermissionChecked | None
    output: value_pb2.Value


@dataclass(frozen=True, slots=True)
class FailStep:
    """A step cannot be attempted at all, for example because a reference leads nowhere."""

    now_us: int
    step_id: str
    failure: value_pb2.Failure


@dataclass(frozen=True, slots=True)
class CompleteAttempt:
    """An executor reports an attempt's output."""

    now_us: int
    step_id: str
    attempt: int
    fence: int
    output: value_pb2.Value | None
    chunk_count: int = 0
    chunks_digest: bytes = b""


@dataclass(frozen=True, slots=True)
class FailAttempt:
    """An executor reports a failure, or the attempt was lost or fell silent."""

    now_us: int
    step_id: str
    attempt: int
    fence: int
    failure: value_pb2.Failure
    chance: float = 0.5
    """A random number in [0, 1) for the jitter of the next backoff."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Look at the timers."""

    now_us: int
    chance: float = 0.5


Command = (
    StartWorkflow
    | AddSteps
    | FinishWorkflow
    | CancelWorkflow
    | Advance
    | StartAttempt
    | QueueStep
    | DenyStep
    | AnswerStep
    | FailStep
    | CompleteAttempt
    | FailAttempt
    | TimePassed
)
