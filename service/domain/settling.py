"""Settling a step whose dependencies are known: its condition, its join, its expansion, its items' end."""

from __future__ import annotations

import json

from google.protobuf.message import Message

from podium.v1 import events_pb2, value_pb2
from service.domain import state as s
from service.domain.conditions import StepView, find_reads
from service.domain.joins import cannot_join, joins
from service.domain.state import Step, Workflow
from service.domain.values import Ports, SealBrokenError, item_texts, output_text, value_text

SETTLED = 500
"""What a step that is settled takes of the allowance, whatever it reads."""
_PER_CHARACTER = 48
"""What a character of a condition does: it may have to be compiled, which takes as long as to read so many."""


def settle(state: Workflow, step: Step, ports: Ports, room: int) -> list[Message]:
    """The events that settle the step, of which a for_each may add as many steps as there is `room` for.

    Raises PayloadNotLoadedError when a stored value must be loaded first.
    """
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
    return [_expand(state, step, ports, room)]


def _evaluate(state: Workflow, step: Step, ports: Ports) -> Message:
    text = step.plan.definition.condition
    ports.allowance.left -= _PER_CHARACTER * len(text)
    steps: dict[str, StepView] = {}
    try:
        # Only what is read is asked for: a sealed value beside it does no harm. Seals are not handed on, because what
        # a condition does is recorded in the open.
        reads = find_reads(text)
        for name, places in reads.steps.items():
            other = state.steps[name]
            wanted = any(place.path[:1] != ("state",) for place in places)
            read = output_text(other, ports.payloads) if wanted else "null"
            ports.allowance.take(read, other)
            steps[name] = {"output": json.loads(read), "state": s.STEP_STATE_NAMES[other.state]}
        read = value_text(state.input, ports.payloads) if reads.input else "null"
        ports.allowance.take(read)
        value = json.loads(read)
        met = ports.expressions.evaluate(text, value, steps)
    except (ValueError, RecursionError) as error:
        # An ExpressionError, or a value that cannot be read here: sealed, not JSON or nested too deeply.
        return _failed(step, "CONDITION_ERROR", f"the condition could not be evaluated: {error}")
    if met:
        return events_pb2.ConditionMet(step_id=step.id)
    return events_pb2.StepSkipped(step_id=step.id, reason=events_pb2.SKIP_REASON_CONDITION)


def _expand(state: Workflow, step: Step, ports: Ports, room: int) -> Message:
    try:
        count = len(item_texts(state, step, ports.payloads, ports.seals, ports.allowance))
    except SealBrokenError as error:
        return _failed(step, "SEAL_BROKEN", str(error))
    except (ValueError, RecursionError) as error:
        # A TemplateError, or a value that cannot be read here: sealed, not JSON or nested too deeply.
        return _failed(step, "REFERENCE_ERROR", str(error))
    if count > room:
        return _failed(
            step, "TOO_MANY_STEPS", f"{count} items are more than the {room} steps the workflow has room for"
        )
    return events_pb2.ForEachExpanded(step_id=step.id, count=count)


def _expansion_ended(step: Step) -> Message:
    if any(item.state == s.CANCELED for item in step.items):
        return events_pb2.StepCanceled(step_id=step.id)
    bad = [item for item in step.items if item.state in (s.FAILED, s.DENIED)]
    if bad and not step.plan.continues:
        first = bad[0].failure
        count = f"{len(bad)} of {len(step.items)} items failed"
        return _failed(step, "ITEMS_FAILED", f"{count}, the first {bad[0].id}: {first.message if first else ''}")
    collected = value_pb2.CollectedOutputs(count=len(step.items))
    return events_pb2.StepSucceeded(step_id=step.id, output=value_pb2.Value(collected=collected))


def _failed(step: Step, reason: str, message: str) -> Message:
    return events_pb2.StepFailed(step_id=step.id, failure=value_pb2.Failure(reason=reason, message=message))
