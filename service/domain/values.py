"""Reaching values: what a reference in a running workflow stands for.

Values over the inline limit are not in the state. A port hands out their text when it is in memory and raises
PayloadNotLoadedError when it is not; the engine loads it and decides again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

from podium.v1 import definition_pb2, value_pb2
from service.domain import state as s
from service.domain.conditions import Expressions
from service.domain.state import Step, Workflow
from service.domain.templates import TemplateError, compact_json, fill


class PayloadNotLoadedError(Exception):
    """A stored value is needed that is not in memory."""

    def __init__(self, reference: value_pb2.PayloadReference) -> None:
        super().__init__(f"payload {reference.digest.hex()} is not loaded")
        self.reference = reference


class Payloads(Protocol):
    """The values over the inline limit that are in memory."""

    def text(self, reference: value_pb2.PayloadReference) -> str:
        """The JSON text. Raises PayloadNotLoadedError."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What the decider reaches outside of the state."""

    expressions: Expressions
    payloads: Payloads


def value_text(value: value_pb2.Value | None, payloads: Payloads) -> str:
    """The JSON text of a value; null for none. Raises PayloadNotLoadedError, and ValueError for a sealed value."""
    kind = None if value is None else value.WhichOneof("kind")
    if value is None or kind is None:
        return "null"
    if kind == "json":
        return value.json
    if kind == "payload":
        return payloads.text(value.payload)
    raise ValueError(f"a value of kind {kind} cannot be read here")


def output_text(step: Step, payloads: Payloads) -> str:
    """The JSON text of a step's output: null unless it succeeded; a list for a for_each step."""
    if step.state != s.SUCCEEDED:
        return "null"
    if step.plan.definition.HasField("for_each") and step.parent is None:
        return "[" + ",".join(output_text(item, payloads) for item in step.items) + "]"
    return value_text(step.output, payloads)


class StepScope:
    """Resolves the references in one step's templates. Made for one filling and thrown away."""

    def __init__(self, state: Workflow, step: Step, payloads: Payloads) -> None:
        self._state = state
        self._step = step
        self._payloads = payloads

    def text(self, reference: definition_pb2.Reference) -> str:
        """The JSON text of what the root names; see service.domain.templates.Scope."""
        root = reference.WhichOneof("root")
        if root == "step_output":
            return output_text(self._state.steps[reference.step_output], self._payloads)
        if root == "step_state":
            return json.dumps(s.STEP_STATE_NAMES[self._state.steps[reference.step_state].state])
        if root == "input":
            return value_text(self._state.input, self._payloads)
        if root == "item" and self._step.parent is not None:
            return item_texts(self._state, self._step.parent, self._payloads)[self._step.item]
        if root == "index" and self._step.parent is not None:
            return str(self._step.item)
        raise TemplateError(f"{root} has no meaning in this step")


def arguments_text(state: Workflow, step: Step, payloads: Payloads) -> str:
    """The JSON text of a step's arguments. Raises TemplateError and PayloadNotLoadedError."""
    return fill(step.plan.definition.arguments, StepScope(state, step, payloads))


def item_texts(state: Workflow, step: Step, payloads: Payloads) -> list[str]:
    """The JSON texts of the items a for_each step runs over. Raises TemplateError when they are no list.

    Kept with the step once found: every item asks, and finding them costs the whole list.
    """
    if step.item_texts is None:
        items = json.loads(fill(step.plan.definition.for_each.items, StepScope(state, step, payloads)))
        if not isinstance(items, list):
            raise TemplateError("for_each needs a list")
        step.item_texts = [compact_json(item) for item in items]
    return step.item_texts
