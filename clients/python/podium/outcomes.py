"""What became of a call, a step, a workflow: the contract's messages as Python values."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from podium.errors import (
    Canceled,
    CircuitOpen,
    InvalidInput,
    PermissionDenied,
    PodiumError,
    RateLimited,
    TimedOut,
    ToolFailed,
    Unreadable,
)
from podium.json_text import from_json
from podium.v1 import events_pb2, tool_service_pb2, value_pb2, workflow_service_pb2

SUCCEEDED = "succeeded"
SKIPPED = "skipped"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What a refusal's reason says more exactly than "denied".
_DENIALS: dict[str, type[PodiumError]] = {
    "RATE_LIMITED": RateLimited,
    "CIRCUIT_OPEN": CircuitOpen,
    "INVALID_ARGUMENT": InvalidInput,
    "INVALID_ARGUMENTS": InvalidInput,
    "INPUT_REJECTED": InvalidInput,
}


@functools.cache
def state_name(state: value_pb2.StepState.ValueType) -> str:
    """Returns a step's state in lower case: "succeeded", "backing_off"."""
    return value_pb2.StepState.Name(state).removeprefix("STEP_STATE_").lower()


@functools.cache
def workflow_state_name(state: value_pb2.WorkflowState.ValueType) -> str:
    """Returns a workflow's state in lower case: "running", "succeeded"."""
    return value_pb2.WorkflowState.Name(state).removeprefix("WORKFLOW_STATE_").lower()


def failure_error(state: str, failure: value_pb2.Failure, event: str = "") -> PodiumError:
    """Returns the error for a step or a workflow that ended in `state` without an output."""
    if state == "denied":
        kind = _DENIALS.get(failure.reason, PermissionDenied)
    elif state == "canceled":
        kind = Canceled
    elif failure.reason.endswith("TIMEOUT"):
        kind = TimedOut
    else:
        kind = ToolFailed
    return kind(
        failure.message or f"it was {state}",
        reason=failure.reason or None,
        retryable=failure.retryable,
        retry_after=failure.retry_after_ms / 1000 if failure.retry_after_ms else None,
        event=event,
        field=failure.field,
    )


def unreadable(failure: value_pb2.Failure, event: str) -> Unreadable:
    """Returns the error for an output that is recorded and cannot be read."""
    return Unreadable(failure.message, reason=failure.reason or None, retryable=failure.retryable, event=event)


def _moment(microseconds: int) -> datetime | None:
    return _EPOCH + timedelta(microseconds=microseconds) if microseconds else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call of a tool."""

    state: str
    output: Any
    error: PodiumError | None
    event: str
    attempts: int
    cached: bool = False
    """Whether the output came from the cache."""

    @classmethod
    def of(cls, message: tool_service_pb2.ToolOutcome) -> Outcome:
        """Reads the contract's message."""
        state = state_name(message.state)
        error = None if state == SUCCEEDED else failure_error(state, message.failure, message.event)
        if message.HasField("output_failure"):
            error = unreadable(message.output_failure, message.event)
        output = from_json(message.output_json) if error is None else None
        return cls(state, output, error, message.event, message.attempts, message.cached)

    @property
    def ok(self) -> bool:
        """Whether there is an output."""
        return self.error is None

    def unwrap(self) -> Any:  # noqa: ANN401 -- any JSON value
        """Returns the output, or raises the error."""
        if self.error is not None:
            raise self.error
        return self.output


@dataclass(frozen=True, slots=True)
class StepStatus:
    """A step as it is now."""

    id: str
    tool: str
    state: str
    attempts: int
    failure: PodiumError | None
    started_at: datetime | None
    ended_at: datetime | None
    event: str
    """The event that ended it, shard:position; empty while it has not ended."""
    parent: str
    """The for_each step it is an item of; empty: none."""
    depends_on: tuple[str, ...]
    output_json: str = field(repr=False)
    output_failure: PodiumError | None
    """Why an output that is recorded cannot be read."""
    degraded_by: int = 0
    """The link of its fallback chain that the output is from, from 1; 0: its own tool, so it is not degraded."""
    cached: bool = False
    """Whether the output came from the cache."""

    @classmethod
    def of(cls, message: workflow_service_pb2.StepSummary) -> StepStatus:
        """Reads the contract's message."""
        state = state_name(message.state)
        ended_badly = state in {"failed", "denied", "canceled"}
        return cls(
            id=message.step_id,
            tool=message.tool,
            state=state,
            attempts=message.attempts,
            failure=failure_error(state, message.failure, message.event) if ended_badly else None,
            started_at=_moment(message.started_at_us),
            ended_at=_moment(message.ended_at_us),
            event=message.event,
            parent=message.parent,
            depends_on=tuple(message.depends_on),
            output_json=message.output_json,
            output_failure=(
                unreadable(message.output_failure, message.event) if message.HasField("output_failure") else None
            ),
            degraded_by=message.degraded_by,
            cached=message.cached,
        )

    @property
    def output(self) -> Any:  # noqa: ANN401 -- any JSON value
        """The output; None for a skipped step. Raises why there is none, or why it cannot be read."""
        if error := self.failure or self.output_failure:
            raise error
        return from_json(self.output_json)


@dataclass(frozen=True, slots=True)
class WorkflowStatus:
    """A workflow at a glance."""

    id: str
    name: str
    kind: str
    state: str
    open: bool
    step_counts: Mapping[str, int]
    failure: PodiumError | None
    started_at: datetime | None
    ended_at: datetime | None
    stream_version: int
    subject: str
    on_behalf_of: str

    @classmethod
    def of(cls, message: workflow_service_pb2.WorkflowSummary) -> WorkflowStatus:
        """Reads the contract's message."""
        state = workflow_state_name(message.state)
        ended_badly = state in {"failed", "canceled"}
        return cls(
            id=message.workflow_id,
            name=message.name,
            kind=events_pb2.WorkflowKind.Name(message.kind).removeprefix("WORKFLOW_KIND_").lower(),
            state=state,
            open=message.open,
            step_counts={state_name(each.state): each.count for each in message.step_counts},
            failure=failure_error(state, message.failure) if ended_badly else None,
            started_at=_moment(message.started_at_us),
            ended_at=_moment(message.ended_at_us),
            stream_version=message.stream_version,
            subject=message.principal.subject,
            on_behalf_of=message.principal.on_behalf_of,
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in it."""
        return self.state in {SUCCEEDED, "failed", "canceled"}


@dataclass(frozen=True, slots=True)
class Result:
    """A workflow that has ended. `result["step_3"]` is that step's output, or raises why there is none."""

    workflow: WorkflowStatus
    steps: Mapping[str, StepStatus]

    @property
    def id(self) -> str:
        """The workflow's id."""
        return self.workflow.id

    @property
    def state(self) -> str:
        """How it ended: "succeeded", "failed" or "canceled"."""
        return self.workflow.state

    @property
    def ok(self) -> bool:
        """Whether the workflow succeeded."""
        return self.state == SUCCEEDED

    @property
    def failure(self) -> PodiumError | None:
        """Why the workflow did not succeed; None when it did."""
        return self.workflow.failure

    @property
    def states(self) -> dict[str, str]:
        """Each step's state, by its id."""
        return {step.id: step.state for step in self.steps.values()}

    @property
    def degraded(self) -> dict[str, int]:
        """The steps whose output a link of their fallback chain gave, and which one, from 1."""
        return {step.id: step.degraded_by for step in self.steps.values() if step.degraded_by}

    def __getitem__(self, step_id: str) -> Any:  # noqa: ANN401 -- any JSON value
        return self.steps[step_id].output
