"""A state that went through its pieces is the same state, at every prefix of a workflow, and goes on as it would."""

import json
from collections import deque
from dataclasses import fields
from itertools import count

import pytest
from google.protobuf.message import Message
from hypothesis import given

from podium.v1 import definition_pb2, value_pb2
from service.domain import state as s
from service.domain.canonical import state_digest
from service.domain.effects import effect_of, effects
from service.domain.evolve import evolve
from service.domain.snapshot import Restoring, pieces_of
from service.domain.state import Step, StepPlan, TimerKind, Workflow
from tests.property.domain.plans import examples, plans
from tests.property.domain.walk import Walk

DERIVED = {"changed", "item_texts"}
"""What a restored state does not have as it was: what is to be looked at again, and what is kept to be quick."""


def through_pieces(state, spoil=lambda piece: [piece]):
    """The state that its pieces make, which were text in between."""
    restoring = Restoring()
    for piece in pieces_of(state):
        for kept in spoil(piece):
            assert restoring.take(json.loads(json.dumps(kept)))
    list(restoring.finish())
    return restoring.state


def picture(state):
    """Every field of a state and of its steps, whatever fields there are, as plain values."""
    told = {field.name: plain(getattr(state, field.name)) for field in fields(Workflow)}
    told |= {
        "steps": [
            {field.name: plain(getattr(step, field.name)) for field in fields(Step) if field.name not in DERIVED}
            for step in state.steps.values()
        ],
        "timers": sorted(timer for timer in state.timers if state.valid(timer)),
        # What ended is asked for its dependents no more.
        "dependents": {
            name: plain(steps)
            for name, steps in state.dependents.items()
            if name not in state.steps or not state.steps[name].ended
        },
    }
    return {name: value for name, value in told.items() if name not in DERIVED}


def plain(value):
    match value:
        case Step():
            return value.id
        case StepPlan():
            return value.definition.SerializeToString(deterministic=True), value.authority
        case Message():
            return value.SerializeToString(deterministic=True)
        case dict():
            return [(name, plain(each)) for name, each in value.items()]
        case list() | tuple() | deque():
            return [plain(each) for each in value]
    # A collection that is made when it is needed is as good as an empty one.
    return [] if value is None else value


@examples(60)
@given(plans())
def test_a_state_that_went_through_its_pieces_goes_on_as_it_would(plan):
    walk = Walk(plan, only="nothing")
    walk.take()
    state, other = Workflow(), Workflow()
    for event in walk.events:
        evolve(state, event)
        evolve(other, event)
        other = through_pieces(other)
        assert picture(other) == picture(state)
        assert state_digest(other) == state_digest(state)
        assert {step_id: effect_of(other, other.steps[step_id]) for step_id in other.changed} == effects(state)


def everything():
    """A state of which every field is set, each to something else."""
    state, numbers = Workflow(), count(100)
    fill(state, numbers)
    state.input, state.failure = value_pb2.Value(json="1"), value_pb2.Failure(reason="FIRST")
    state.request_digest = b"\x01digest"
    state.authorities = [value_pb2.Authority(roles=[role]) for role in ("one", "two")]
    definition = definition_pb2.StepDefinition(id="each", for_each=definition_pb2.ForEach(max_parallel=1))
    each = add(state, numbers, Step("each", 0, StepPlan(definition, 1)))
    item = add(state, numbers, Step("each[0]", 1, each.plan, parent=each, item=0))
    each.items, each.items_held = [item], deque([item])
    after = definition_pb2.StepDefinition(id="after", depends_on=["each"])
    state.dependents["each"] = [add(state, numbers, Step("after", 2, StepPlan(after, 0)))]
    state.held.append(item)
    state.to_settle["after"] = None
    state.requests["request"] = (b"\x02body", ("each", "after"))
    for step in state.steps.values():
        state.arm(next(numbers), TimerKind.ATTEMPT, step.id, step.attempts)
    return state


def add(state, numbers, step):
    fill(step, numbers, but={"id", "order", "item"})
    step.state = s.RUNNING
    step.output, step.failure = value_pb2.Value(json=str(next(numbers))), value_pb2.Failure(reason=step.id)
    state.steps[step.id] = step
    return step


def fill(target, numbers, but=()):
    values = {"int": lambda: next(numbers), "bool": lambda: True, "str": lambda: f"text {next(numbers)}"}
    for field in fields(target):
        if field.type in values and field.name not in but:
            setattr(target, field.name, values[field.type]())


def test_nothing_of_a_state_is_lost():
    assert picture(through_pieces(everything())) == picture(everything())


def parts():
    """Everything that pieces hold: whole pieces, and the fields and columns in them."""
    for kind, content in pieces_of(everything()):
        yield kind, None
        if kind in ("workflow", "steps"):
            yield from ((kind, name) for name in content.get("columns", content))


def forgetting(forgotten, name):
    def spoil(piece):
        kind, content = piece
        if kind != forgotten:
            return [piece]
        if name is None:
            return []
        if kind == "workflow":
            return [(kind, content | {name: type(content[name])()})]
        column = content["columns"][name]
        empty = -1 if name in ("output", "failure", "definition", "parent_order") else type(column[0])()
        return [(kind, content | {"columns": content["columns"] | {name: [empty] * len(column)}})]

    return spoil


@pytest.mark.parametrize(("kind", "name"), list(parts()))
def test_a_codec_that_forgets_a_field_is_found_out(kind, name):
    try:
        restored = picture(through_pieces(everything(), forgetting(kind, name)))
    except (LookupError, AttributeError, TypeError):
        return
    assert restored != picture(everything())
