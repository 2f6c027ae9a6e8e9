"""Settling a step whose dependencies are known: its condition, its join, its expansion, its items' end."""

from __future__ import annotations

import json

from google.protobuf.message import Message

from podium.v1 import events_pb2, value_pb2
from service.domain import state as s
from service.domain.conditions import ExpressionError, referenced_steps
from service.domain.evolve import cannot_join, joins
from service.domain.state import Step, Workflow
from service.domain.templates import TemplateError
from service.domain.values import Ports, item_texts, output_text, value_text


def settle(state: Workflow, step: Step, ports: Ports, steps_limit: int) -> list[Message]:
    """The events that settle the step. Raises PayloadNotLoadedError when a stored value must be loaded first."""
    if step.state == s.EXPANDED:
        return [_expansion_ended(step)]
    if step.state != s.PENDING:
        return []
    total = len(step.plan.depends_on)
    ended = total - step.waiting
    if not joins(step.plan, total, ended, step.succeeded):
        if cannot_join(step.plan, total, ended, step.succeeded):
            return [events_pb2.StepSkipped(step_id=step.id, reason=events_pb2.SKIP_REASON_JOIN)]
        return []
    if step.plan.definition.condition and not step.condition_met:
        return [_evaluate(state, step, ports)]
    return [_expand(state, step, ports, steps_limit)]


def _evaluate(state: Workflow, step: Step, ports: Ports) -> Message:
    text = step.plan.definition.condition
    steps = {}
    for name in referenced_steps(text):
        other = state.steps[name]
        output = json.loads(output_text(other, ports.payloads))
        steps[name] = {"output": output, "state": s.STEP_STATE_NAMES[other.state]}
    try:
        value = json.loads(value_text(state.input, ports.payloads))
        met = ports.expressions.evaluate(text, value, steps)
    except ExpressionError as error:
        return _failed(step, "CONDITION_ERROR", f"the condition could not be evaluated: {error}")
    if met:
        return events_pb2.ConditionMet(step_id=step.id)
    return events_pb2.StepSkipped(step_id=step.id, reason=events_pb2.SKIP_REASON_CONDITION)


def _expand(state: Workflow, step: Step, ports: Ports, steps_limit: int) -> Message:
    try:
        count = len(item_texts(state, step, ports.payloads))
    except TemplateError as error:
        return _failed(step, "REFERENCE_ERROR", str(error))
    if len(state.steps) + count > steps_limit:
        return _failed(step, "TOO_MANY_STEPS", f"{count} items are more than the workflow's limit of {steps_limit} steps")
    return events_pb2.ForEachExpanded(step_id=step.id, count=count)


def _expansion_ended(step: Step) -> Message:
    bad = [item for item in step.items if item.state in (s.FAILED, s.DENIED)]
    if bad and not step.plan.continues:
        first = bad[0].failure
        message = f"{len(bad)} of {len(step.items)} items failed, the first {bad[0].id}: {first.message if first else ''}"
        return _failed(step, "ITEMS_FAILED", message)
    collected = value_pb2.CollectedOutputs(count=len(step.items))
    return events_pb2.StepSucceeded(step_id=step.id, output=value_pb2.Value(collected=collected))


def _failed(step: Step, reason: str, message: str) -> Message:
    return events_pb2.StepFailed(step_id=step.id, failure=value_pb2.Failure(reason=reason, message=message))
