"""What a turn reads of values is bounded: the rest is left to the next one, and nothing is left out."""

import json

import pytest

from podium.v1 import definition_pb2, value_pb2
from service.domain import commands as c
from service.domain.decide import Rules, decide
from service.domain.definition import normalise
from service.domain.evolve import evolve
from service.domain.values import ALLOWANCE, Allowance, Ports, item_texts, make_arguments
from tests.unit.domain.workflow_run import AUTHORITY, EXPRESSIONS, START_US, VALIDATION, Run

LARGE = 400_000
"""Characters of a value of which a turn reads a few."""
STEPS = 20
UNLIMITED = 10**12


def started(*steps, value):
    """A run whose steps were submitted and not looked at yet, over an input that is in memory."""
    run = Run()
    reference = value_pb2.PayloadReference(digest=b"large", size_bytes=LARGE)
    run.payloads[b"large"] = json.dumps(value)
    plan = normalise(steps, VALIDATION)
    run.apply(c.StartWorkflow(START_US, "", value_pb2.Value(payload=reference), plan, AUTHORITY))
    return run


def with_conditions():
    steps = [definition_pb2.StepDefinition(tool="work", condition=f"input.n > {number}") for number in range(STEPS)]
    return started(*steps, value={"n": STEPS, "rest": "x" * LARGE})


def settled_at_once(run, allowance):
    """How many steps one look at the workflow settles."""
    events = decide(run.state, c.Advance(START_US), Ports(EXPRESSIONS, run.payloads, None, allowance), Rules())
    for event in events:
        evolve(run.state, event)
    return len(events)


def test_conditions_over_a_large_value_are_evaluated_a_few_a_turn():
    run, counts = with_conditions(), []
    while run.state.to_settle:
        counts.append(settled_at_once(run, Allowance()))
    assert sum(counts) == STEPS
    assert max(counts) <= ALLOWANCE // LARGE + 1


def test_without_a_bound_all_are_evaluated_in_one_turn():
    assert settled_at_once(with_conditions(), Allowance(UNLIMITED)) == STEPS


def test_something_is_done_however_little_may_be_read():
    assert settled_at_once(with_conditions(), Allowance(0)) == 1


def test_long_conditions_count_though_they_read_nothing():
    long = " || ".join(f"{number} == 1" for number in range(400))[:4000].rsplit(" || ", 1)[0]
    run = started(*[definition_pb2.StepDefinition(tool="work", condition=f"{long} || true")] * 100, value=1)
    assert settled_at_once(run, Allowance()) < 20


@pytest.mark.parametrize("text", ['"${input}"', '"${input.n}"', '"n is ${input.n}"'])
def test_what_arguments_read_counts_whatever_they_take_of_it(text):
    steps = [definition_pb2.StepDefinition(id="a", tool="work", arguments_json=f'{{"value": {text}}}')]
    run = started(*steps, value={"n": 1, "rest": "x" * LARGE})
    ports = Ports(EXPRESSIONS, run.payloads)
    make_arguments(run.state, run.state.steps["a"], ports)
    assert ALLOWANCE - ports.allowance.left >= LARGE


def test_a_list_to_run_over_counts_when_it_is_read():
    each = definition_pb2.ForEach(items_json='"${input.list}"')
    steps = [definition_pb2.StepDefinition(id="a", tool="work", for_each=each)]
    run = started(*steps, value={"list": [1, 2], "rest": "x" * LARGE})
    allowance = Allowance()
    assert item_texts(run.state, run.state.steps["a"], run.payloads, None, allowance) == ["1", "2"]
    assert ALLOWANCE - allowance.left >= LARGE
