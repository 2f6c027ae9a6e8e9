"""How the events of a step change a workflow's state: its condition, its items, its outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from podium.v1 import events_pb2
from service.domain import state as s
from service.domain.progress import finish, make_ready
from service.domain.state import Step, Workflow


def _condition_met(state: Workflow, event: events_pb2.ConditionMet) -> None:
    step = state.steps[event.step_id]
    step.condition_met = True
    if not step.plan.definition.HasField("for_each"):
        state.to_settle.pop(step.id, None)
        make_ready(state, step)


def _for_each_expanded(state: Workflow, event: events_pb2.ForEachExpanded) -> None:
    parent = state.steps[event.step_id]
    parent.state = s.EXPANDED
    parent.waiting = event.count
    state.to_settle.pop(parent.id, None)
    first = len(state.steps)
    parent.items = [
        Step(f"{parent.id}[{index}]", first + index, parent.plan, parent=parent, item=index)
        for index in range(event.count)
    ]
    state.steps.update((item.id, item) for item in parent.items)
    state.unfinished += event.count
    for item in parent.items:
        make_ready(state, item)
    if event.count == 0:
        state.to_settle[parent.id] = None


def _step_succeeded(state: Workflow, event: events_pb2.StepSucceeded) -> None:
    step = state.steps[event.step_id]
    step.output = event.output if event.HasField("output") else None
    step.failure = None
    step.chunk_count = event.chunk_count
    finish(state, step, s.SUCCEEDED)


def _step_failed(state: Workflow, event: events_pb2.StepFailed) -> None:
    step = state.steps[event.step_id]
    step.failure = event.failure
    finish(state, step, s.FAILED)


def _step_denied(state: Workflow, event: events_pb2.StepDenied) -> None:
    step = state.steps[event.step_id]
    step.failure = event.failure
    finish(state, step, s.DENIED)


def _step_skipped(state: Workflow, event: events_pb2.StepSkipped) -> None:
    step = state.steps[event.step_id]
    step.skip_reason = event.reason
    finish(state, step, s.SKIPPED)


def _step_canceled(state: Workflow, event: events_pb2.StepCanceled) -> None:
    finish(state, state.steps[event.step_id], s.CANCELED)


FOLDS: dict[type[Message], Callable[[Workflow, Any], None]] = {
    events_pb2.ConditionMet: _condition_met,
    events_pb2.ForEachExpanded: _for_each_expanded,
    events_pb2.StepSucceeded: _step_succeeded,
    events_pb2.StepFailed: _step_failed,
    events_pb2.StepDenied: _step_denied,
    events_pb2.StepSkipped: _step_skipped,
    events_pb2.StepCanceled: _step_canceled,
}
"""The fold of each event of a step."""
