"""Reaching values: what a reference in a running workflow stands for.

Values over the inline limit are not in the state. A port hands out their text when it is in memory and raises
PayloadNotLoadedError when it is not; the engine loads it and decides again. Sealed values are opened through another
port, for the arguments of an attempt that is about to start and for nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from podium.v1 import definition_pb2, value_pb2
from service.domain import state as s
from service.domain.conditions import Expressions
from service.domain.filling import fill
from service.domain.state import Step, Workflow
from service.domain.templates import TemplateError, compact_json

ITEMS_LIMIT = 20_000
"""Items a for_each may have: all of them begin in one event, and so in one turn."""


ALLOWANCE = 2 * 1024 * 1024
"""Characters of values that are read before others have their turn: some tens of milliseconds, whatever reads them."""
_PER_ITEM = 16
"""What an item of a for_each counts for when the outputs of all are put together."""


@dataclass(slots=True)
class Allowance:
    """How much may still be read of values before others have their turn. Whoever reads takes from it.

    What has begun is finished, so that something is done however little there was.
    """

    left: int = ALLOWANCE
    """In characters of JSON; below zero there is none left."""

    def take(self, text: str, step: Step | None = None) -> None:
        """A value was read: that of a step, or another."""
        self.left -= len(text) + (0 if step is None else _PER_ITEM * len(step.items))


class PayloadNotLoadedError(Exception):
    """A stored value is needed that is not in memory."""

    def __init__(self, reference: value_pb2.PayloadReference) -> None:
        super().__init__(f"payload {reference.digest.hex()} is not loaded")
        self.reference = reference


class SealBrokenError(Exception):
    """A sealed value cannot be opened: its key was destroyed, or it was altered. The message holds nothing of it."""


class Payloads(Protocol):
    """The values over the inline limit that are in memory."""

    def text(self, reference: value_pb2.PayloadReference) -> str:
        """The JSON text. Raises PayloadNotLoadedError."""


class Seals(Protocol):
    """Opens sealed values. Both methods raise SealBrokenError; a large one that is not loaded PayloadNotLoadedError."""

    def text(self, sealed: value_pb2.SealedValue) -> str:
        """The JSON text of a value."""

    def template(self, sealed: value_pb2.SealedValue) -> definition_pb2.Template:
        """A template that was sealed as a whole."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What the decider reaches outside of the state."""

    expressions: Expressions
    payloads: Payloads
    seals: Seals | None = None
    """None: nothing that is sealed can be opened."""
    allowance: Allowance = field(default_factory=Allowance)
    """Renewed by whoever gives the turns."""


def value_text(value: value_pb2.Value | None, payloads: Payloads, seals: Seals | None = None) -> str:
    """The JSON text of a value; null for none.

    Raises PayloadNotLoadedError, ValueError for a sealed value when there are no seals, and SealBrokenError.
    """
    kind = None if value is None else value.WhichOneof("kind")
    if value is None or kind is None:
        return "null"
    if kind == "json":
        return value.json
    if kind == "payload":
        return payloads.text(value.payload)
    if kind == "sealed":
        if seals is None:
            raise ValueError("the value is sealed and can be used in arguments only")
        return seals.text(value.sealed)
    raise ValueError(f"a value of kind {kind} cannot be read here")


def output_text(step: Step, payloads: Payloads, seals: Seals | None = None) -> str:
    """The JSON text of a step's output: null unless it succeeded; a list for a for_each step."""
    if step.state != s.SUCCEEDED:
        return "null"
    if step.plan.definition.HasField("for_each") and step.parent is None:
        return "[" + ",".join(output_text(item, payloads, seals) for item in step.items) + "]"
    return value_text(step.output, payloads, seals)


class StepScope:
    """Resolves the references in one step's templates. Made for one filling and thrown away."""

    def __init__(
        self,
        state: Workflow,
        step: Step,
        payloads: Payloads,
        seals: Seals | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self._state = state
        self._step = step
        self._payloads = payloads
        self._seals = seals
        self._allowance = allowance or Allowance()

    def text(self, reference: definition_pb2.Reference) -> str:
        """The JSON text of what the root names; see service.domain.templates.Scope."""
        root = reference.WhichOneof("root")
        if root == "step_output":
            step = self._state.steps[reference.step_output]
            text = output_text(step, self._payloads, self._seals)
            self._allowance.take(text, step)
            return text
        if root == "step_state":
            return json.dumps(s.STEP_STATE_NAMES[self._state.steps[reference.step_state].state])
        if root == "input":
            text = value_text(self._state.input, self._payloads, self._seals)
            self._allowance.take(text)
            return text
        if root == "item" and self._step.parent is not None:
            items = item_texts(self._state, self._step.parent, self._payloads, self._seals, self._allowance)
            text = items[self._step.item]
            self._allowance.take(text)
            return text
        if root == "index" and self._step.parent is not None:
            return str(self._step.item)
        raise TemplateError(f"{root} has no meaning in this step")


class _OpenedSeals:
    """Opens for one step's arguments, and remembers whether anything was opened."""

    __slots__ = ("_seals", "used")

    def __init__(self, seals: Seals) -> None:
        self._seals = seals
        self.used = False

    def text(self, sealed: value_pb2.SealedValue) -> str:
        self.used = True
        return self._seals.text(sealed)

    def template(self, sealed: value_pb2.SealedValue) -> definition_pb2.Template:
        self.used = True
        return self._seals.template(sealed)


class Arguments(NamedTuple):
    """A step's arguments, ready for its tool."""

    text: str
    hold_secrets: bool
    """Something sealed was opened for them: no digest of them may be recorded that anyone can try values out on."""


def make_arguments(state: Workflow, step: Step, ports: Ports) -> Arguments:
    """A step's arguments. Raises TemplateError, PayloadNotLoadedError and SealBrokenError."""
    if ports.seals is None:
        return Arguments(arguments_text(state, step, ports.payloads, None, ports.allowance), hold_secrets=False)
    opened = _OpenedSeals(ports.seals)
    text = arguments_text(state, step, ports.payloads, opened, ports.allowance)
    return Arguments(text, opened.used or _runs_over_sealed(step))


def _runs_over_sealed(step: Step) -> bool:
    """Whether the step's item is from a sealed list, which was opened when the list was expanded."""
    return step.parent is not None and step.plan.definition.for_each.items.HasField("sealed")


def arguments_text(
    state: Workflow, step: Step, payloads: Payloads, seals: Seals | None = None, allowance: Allowance | None = None
) -> str:
    """The JSON text of a step's arguments. Raises as `make_arguments` does."""
    return _fill(step.call.arguments, StepScope(state, step, payloads, seals, allowance), seals)


def _fill(template: definition_pb2.Template, scope: StepScope, seals: Seals | None) -> str:
    if not template.HasField("sealed"):
        return fill(template, scope)
    if seals is None:
        raise ValueError("the template is sealed")
    try:
        return fill(seals.template(template.sealed), scope)
    except TemplateError:
        # What it would say names members of what is sealed, and it is recorded.
        raise TemplateError("a reference in a sealed template leads nowhere") from None


def item_texts(state: Workflow, step: Step, payloads: Payloads, seals: Seals | None, allowance: Allowance) -> list[str]:
    """The JSON texts of the items a for_each step runs over. Raises TemplateError when they are no list.

    The template may be sealed, the values it refers to may not: how many there are goes into the open.
    Kept with the step once found: every item asks, and finding them costs the whole list.
    """
    if step.item_texts is None:
        scope = StepScope(state, step, payloads, None, allowance)
        text = _fill(step.plan.definition.for_each.items, scope, seals)
        allowance.take(text)
        items = json.loads(text)
        if not isinstance(items, list):
            raise TemplateError("for_each needs a list")
        if len(items) > ITEMS_LIMIT:
            # Refused before each of them costs anything.
            raise TemplateError(
                f"for_each has {len(items)} items, more than {ITEMS_LIMIT}: let several steps run over parts of them"
            )
        step.item_texts = [compact_json(item) for item in items]
    return step.item_texts
