"""A workflow's state as plain data, in pieces, and back: what a snapshot of it holds.

Invariant: the state that is made from the pieces is the one they were made of, with everything it asks for to be looked
at again. A piece is bounded, so that whoever writes or reads one can do something else in between.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from heapq import heapify
from typing import Any, TypeVar

from google.protobuf.message import Message

from podium.v1 import definition_pb2, value_pb2
from service.domain.effects import effect_of
from service.domain.state import Step, StepPlan, TimerKind, Workflow

PIECE_WEIGHT = 250
"""How much is in a piece, in steps or other items: one is made, or read, in one or two milliseconds."""
_BYTES_A_STEP = 256
"""A step whose values are so many bytes weighs as much as two."""

Piece = tuple[str, Any]
"""(what it is, values of JSON)."""

T = TypeVar("T")
M = TypeVar("M", bound=Message)

_NO_MESSAGE = -1
_NO_PARENT = -1


def _plain(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.type in ("int", "bool", "str"))


_WORKFLOW_FIELDS = _plain(Workflow)
_STEP_FIELDS = _plain(Step)
_ALL_STEP_FIELDS = tuple(field.name for field in fields(Step))


def in_pieces(items: Iterable[T], weigh: Callable[[T], int] = lambda _: 1) -> Iterator[list[T]]:
    """The items in lists that end when they weigh PIECE_WEIGHT or more, none of them empty."""
    piece: list[T] = []
    weight = 0
    for item in items:
        piece.append(item)
        weight += weigh(item)
        if weight >= PIECE_WEIGHT:
            yield piece
            piece, weight = [], 0
    if piece:
        yield piece


def _weight(step: Step) -> int:
    size = 0 if step.output is None else step.output.ByteSize()
    if step.parent is None:
        size += step.plan.definition.ByteSize()
    return 1 + size // _BYTES_A_STEP


def pieces_of(state: Workflow) -> Iterator[Piece]:
    """The pieces that hold a state. It must not change before the last was made."""
    yield "workflow", _workflow_piece(state)
    for authorities in in_pieces(state.authorities):
        yield "authorities", [_text(authority) for authority in authorities]
    for steps in in_pieces(state.steps.values(), _weight):
        yield "steps", _steps_piece(steps)
    held_items = ((step.order, item.order) for step in state.steps.values() for item in step.items_held or ())
    for held in in_pieces(held_items):
        yield "held_items", held
    for orders in in_pieces(step.order for step in state.held):
        yield "held", orders
    for names in in_pieces(state.to_settle):
        yield "to_settle", names
    for timers in in_pieces(state.timers):
        yield "timers", [timer for timer in timers if state.valid(timer)]
    requests = ((name, digest.hex(), ids) for name, (digest, ids) in state.requests.items())
    for remembered in in_pieces(requests, lambda request: 1 + len(request[2]) // 10):
        yield "requests", remembered


class Restoring:
    """Makes a state of pieces, which are taken in the order in which they were made."""

    def __init__(self) -> None:
        self.state = Workflow()
        self._steps: list[Step] = []
        self._items: dict[int, list[Step]] = {}

    def take(self, piece: Sequence[Any]) -> bool:
        """Take in a piece; False: it is none of a state. Raises whatever it stumbles over in a piece that is broken."""
        kind, content = piece
        taking = getattr(self, f"_take_{kind}", None)
        if taking is None:
            return False
        taking(content)
        return True

    def finish(self) -> Iterator[None]:
        """Do what is left after the last piece, a bounded number of steps at a time."""
        heapify(self.state.timers)
        for steps in in_pieces(self._steps):
            for step in steps:
                self._connect(step)
            yield

    def _take_workflow(self, content: dict[str, Any]) -> None:
        state = self.state
        for name in _WORKFLOW_FIELDS:
            setattr(state, name, content[name])
        state.request_digest = bytes.fromhex(content["request_digest"])
        state.input = _message(value_pb2.Value, content["input"])
        state.failure = _message(value_pb2.Failure, content["failure"])

    def _take_authorities(self, content: list[str]) -> None:
        self.state.authorities.extend(value_pb2.Authority.FromString(a2b_base64(text)) for text in content)

    def _take_steps(self, content: dict[str, Any]) -> None:
        columns: dict[str, Any] = content["columns"]
        texts: list[bytes] = [a2b_base64(text) for text in content["messages"]]
        count = len(columns["id"])
        definitions = _messages(definition_pb2.StepDefinition, columns["definition"], texts)
        by_field = columns | {
            "plan": [None] * count,
            "output": _messages(value_pb2.Value, columns["output"], texts),
            "failure": _messages(value_pb2.Failure, columns["failure"], texts),
            "parent": [None] * count,
            "items": [()] * count,
            "items_held": [None] * count,
            "item_texts": [None] * count,
        }
        steps = list(map(Step, *(by_field[name] for name in _ALL_STEP_FIELDS)))
        self._steps += steps
        for step, definition, authority, parent in zip(
            steps, definitions, columns["authority"], columns["parent_order"], strict=True
        ):
            if parent != _NO_PARENT:
                self._adopt(step, self._steps[parent])
            elif definition is not None:
                step.plan = StepPlan(definition, authority)
            self.state.steps[step.id] = step
            # What was looked at before the snapshot is looked at again, as after a fold from the beginning.
            if effect_of(self.state, step) is not None:
                self.state.changed[step.id] = None

    def _adopt(self, item: Step, parent: Step) -> None:
        item.parent = parent
        item.plan = parent.plan
        if not parent.items:
            parent.items = self._items[parent.order] = []
        self._items[parent.order].append(item)

    def _take_held_items(self, content: list[tuple[int, int]]) -> None:
        for parent, item in content:
            step = self._steps[parent]
            if step.items_held is None:
                step.items_held = deque()
            step.items_held.append(self._steps[item])

    def _take_held(self, content: list[int]) -> None:
        self.state.held.extend(self._steps[order] for order in content)

    def _take_to_settle(self, content: list[str]) -> None:
        self.state.to_settle.update(dict.fromkeys(content))

    def _take_timers(self, content: list[tuple[int, int, int, str, int]]) -> None:
        self.state.timers += [
            (at_us, order, TimerKind(kind), step_id, attempt) for at_us, order, kind, step_id, attempt in content
        ]

    def _take_requests(self, content: list[tuple[str, str, list[str]]]) -> None:
        for name, digest, ids in content:
            self.state.requests[name] = (bytes.fromhex(digest), tuple(ids))

    def _connect(self, step: Step) -> None:
        if step.parent is not None:
            return
        for name in step.plan.depends_on:
            dependency = self.state.steps.get(name)
            if dependency is None or not dependency.ended:
                self.state.dependents.setdefault(name, []).append(step)


def _workflow_piece(state: Workflow) -> dict[str, Any]:
    return {name: getattr(state, name) for name in _WORKFLOW_FIELDS} | {
        "request_digest": state.request_digest.hex(),
        "input": _text(state.input),
        "failure": _text(state.failure),
    }


def _steps_piece(steps: list[Step]) -> dict[str, Any]:
    places: dict[bytes, int] = {}

    def place(message: Message | None) -> int:
        if message is None:
            return _NO_MESSAGE
        return places.setdefault(message.SerializeToString(), len(places))

    columns: dict[str, list[Any]] = {name: [getattr(step, name) for step in steps] for name in _STEP_FIELDS}
    columns["output"] = [place(step.output) for step in steps]
    columns["failure"] = [place(step.failure) for step in steps]
    # An item has the plan of its for_each step.
    columns["definition"] = [place(step.plan.definition if step.parent is None else None) for step in steps]
    columns["authority"] = [step.plan.authority for step in steps]
    columns["parent_order"] = [_NO_PARENT if step.parent is None else step.parent.order for step in steps]
    return {"columns": columns, "messages": [b2a_base64(data, newline=False).decode() for data in places]}


def _text(message: Message | None) -> str | None:
    return None if message is None else b2a_base64(message.SerializeToString(), newline=False).decode()


def _message(kind: type[M], text: str | None) -> M | None:
    return None if text is None else kind.FromString(a2b_base64(text))


def _messages(kind: type[M], column: list[int], texts: list[bytes]) -> list[M | None]:
    """The messages of a column. Equal ones are one message: nobody changes what is in a state."""
    made = {place: kind.FromString(texts[place]) for place in set(column) if place != _NO_MESSAGE}
    return [made.get(place) for place in column]
