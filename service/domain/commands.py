"""The commands of a workflow: what someone wants, with the time and the chance it needs as data.

Tuples, because one is made for every step and a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from podium.v1 import definition_pb2, events_pb2, value_pb2


class StartWorkflow(NamedTuple):
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
    priority: int = 0


class AddSteps(NamedTuple):
    """Add validated steps to an open workflow."""

    now_us: int
    steps: Sequence[definition_pb2.StepDefinition]
    authority: value_pb2.Authority
    request_id: str = ""
    request_digest: bytes = b""


class FinishWorkflow(NamedTuple):
    """Say that no more steps will be added."""

    now_us: int
    request_id: str = ""


class CancelWorkflow(NamedTuple):
    """Ask for the workflow to end."""

    now_us: int
    reason: str = ""
    request_id: str = ""


class Advance(NamedTuple):
    """Settle what can be settled: conditions, joins, expansions, the workflow's end."""

    now_us: int


class StartAttempt(NamedTuple):
    """Admission allowed a step and an executor has a place for it."""

    now_us: int
    step_id: str
    check: events_pb2.PermissionChecked
    executor: str
    session_id: str
    timeout_ms: int
    secrets: Sequence[str] = ()
    """The names of the secrets that go with the assignment."""


class QueueStep(NamedTuple):
    """Admission allowed a step but no executor has a place, or a rate limit lets it wait."""

    now_us: int
    step_id: str
    waits_for: str
    schedule_to_start_ms: int
    limited: events_pb2.RateLimited | None = None


class DenyStep(NamedTuple):
    """Admission refused a step, or its arguments could not be made."""

    now_us: int
    step_id: str
    guard: str
    failure: value_pb2.Failure
    check: events_pb2.PermissionChecked | None = None
    rejected: events_pb2.InputRejected | None = None
    limited: events_pb2.RateLimited | None = None


class AnswerStep(NamedTuple):
    """Admission knows the output without running anything."""

    now_us: int
    step_id: str
    check: events_pb2.PermissionChecked | None
    output: value_pb2.Value
    hit: events_pb2.CacheHit | None = None


class RejectAttempt(NamedTuple):
    """Admission does not let an attempt be made now, which counts as one that failed."""

    now_us: int
    step_id: str
    guard: str
    failure: value_pb2.Failure
    check: events_pb2.PermissionChecked | None = None
    chance: float = 0.5
    """A random number in [0, 1) for the jitter of the next backoff."""


class FailStep(NamedTuple):
    """A step cannot be attempted at all, for example because a reference leads nowhere."""

    now_us: int
    step_id: str
    failure: value_pb2.Failure


class CompleteAttempt(NamedTuple):
    """An executor reports an attempt's output."""

    now_us: int
    step_id: str
    attempt: int
    fence: int
    output: value_pb2.Value | None
    chunk_count: int = 0
    chunks_digest: bytes = b""
    sanitized: Sequence[str] = ()
    """What changed the output before it came here."""
    cache_ttl_ms: int | None = None
    """How long the tool lets this result be cached; None: as its definition says."""


class FailAttempt(NamedTuple):
    """An executor reports a failure, or the attempt was lost or fell silent."""

    now_us: int
    step_id: str
    attempt: int
    fence: int
    failure: value_pb2.Failure
    chance: float = 0.5
    """A random number in [0, 1) for the jitter of the next backoff."""


class TimePassed(NamedTuple):
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
    | RejectAttempt
    | FailStep
    | CompleteAttempt
    | FailAttempt
    | TimePassed
)
