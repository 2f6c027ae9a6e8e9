"""How the events of a whole workflow change its state: its start, steps that are added, cancel and end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from podium.v1 import events_pb2, value_pb2
from service.domain import state as s
from service.domain.progress import cancel_steps, consider
from service.domain.state import Step, StepPlan, TimerKind, Workflow


def _workflow_started(state: Workflow, event: events_pb2.WorkflowStarted) -> None:
    state.started = True
    state.state = value_pb2.WORKFLOW_STATE_RUNNING
    state.name = event.name
    state.kind = event.kind
    state.open = event.open
    state.input = event.input if event.HasField("input") else None
    state.max_parallel = event.max_parallel
    state.priority = event.priority
    state.request_digest = event.request_digest
    state.cancel_grace_ms = event.cancel_grace_ms
    state.deadline_at_us = event.deadline_at_us
    if event.deadline_at_us:
        state.arm(event.deadline_at_us, TimerKind.WORKFLOW)


def _steps_added(state: Workflow, event: events_pb2.StepsAdded) -> None:
    if not state.authorities or state.authorities[-1] != event.authority:
        state.authorities.append(event.authority)
    authority = len(state.authorities) - 1
    added = [Step(d.id, len(state.steps) + i, StepPlan(d, authority)) for i, d in enumerate(event.steps)]
    state.submitted += len(added)
    for step in added:
        state.steps[step.id] = step
    state.unfinished += len(added)
    if event.request_id:
        _remember_request(state, event)
    for step in added:
        _connect(state, step)
    for step in added:
        consider(state, step)


def _remember_request(state: Workflow, event: events_pb2.StepsAdded) -> None:
    # A request larger than one event is recorded as several; together they are its answer.
    _, ids = state.requests.get(event.request_id, (b"", ()))
    state.requests[event.request_id] = (event.request_digest, (*ids, *(d.id for d in event.steps)))
    if len(state.requests) > s.REQUESTS_REMEMBERED:
        state.requests.popitem(last=False)


def _connect(state: Workflow, step: Step) -> None:
    for name in step.plan.depends_on:
        dependency = state.steps.get(name)
        if dependency is not None and dependency.ended:
            step.succeeded += dependency.state == s.SUCCEEDED
        else:
            step.waiting += 1
            state.dependents.setdefault(name, []).append(step)


def _finish_requested(state: Workflow, event: events_pb2.WorkflowFinishRequested) -> None:
    del event
    state.open = False


def _cancel_requested(state: Workflow, event: events_pb2.WorkflowCancelRequested) -> None:
    state.state = value_pb2.WORKFLOW_STATE_CANCELING
    state.cut_short = state.open
    state.open = False
    state.grace_ends_at_us = event.grace_ends_at_us
    state.arm(event.grace_ends_at_us, TimerKind.GRACE)
    cancel_steps(state, keep_running=True)


def _workflow_succeeded(state: Workflow, event: events_pb2.WorkflowSucceeded) -> None:
    del event
    state.state = value_pb2.WORKFLOW_STATE_SUCCEEDED


def _workflow_failed(state: Workflow, event: events_pb2.WorkflowFailed) -> None:
    state.failure = event.failure
    if state.unfinished:
        cancel_steps(state, keep_running=False)
    state.state = value_pb2.WORKFLOW_STATE_FAILED
    state.open = False


def _workflow_canceled(state: Workflow, event: events_pb2.WorkflowCanceled) -> None:
    del event
    state.state = value_pb2.WORKFLOW_STATE_CANCELED


FOLDS: dict[type[Message], Callable[[Workflow, Any], None]] = {
    events_pb2.WorkflowStarted: _workflow_started,
    events_pb2.StepsAdded: _steps_added,
    events_pb2.WorkflowFinishRequested: _finish_requested,
    events_pb2.WorkflowCancelRequested: _cancel_requested,
    events_pb2.WorkflowSucceeded: _workflow_succeeded,
    events_pb2.WorkflowFailed: _workflow_failed,
    events_pb2.WorkflowCanceled: _workflow_canceled,
}
"""The fold of each event of a whole workflow."""
