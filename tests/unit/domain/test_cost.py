"""What a step costs does not grow with its workflow: counted in calls of the domain's functions, not in seconds."""

import cProfile
from collections import deque
from pathlib import Path

import pytest

from podium.v1 import definition_pb2 as pb
from service.domain import decide as decider
from service.domain.definition import normalise
from service.domain.effects import Admit, changed_effects, effects
from service.domain.evolve import evolve
from service.domain.rebuild import rebuild
from store.records import decode_record, encode_envelope, encode_record
from tests.unit.domain.workflow_run import VALIDATION, Run, begins, completes, starts, step

DOMAIN = str(Path(decider.__file__).parent)
SMALL, MEDIUM, LARGE = 100, 2000, 10_000
GROWTH_MAX = 1.1
ENVELOPE = encode_envelope(shard=0, tenant="acme", stream_id="wf_1")


def chain(count):
    return [step(f"s{i}", *([f"s{i - 1}"] if i else []), arguments={"n": i}) for i in range(count)]


def fan(count):
    """One step, then many at once, then one that joins them all."""
    branches = [step(f"s{i}", "first") for i in range(count - 2)]
    return [step("first"), *branches, step("last", *(branch.id for branch in branches), join=pb.JOIN_DONE)]


def narrow_fan(count):
    """Many steps that could run at once, of which one after the other does."""
    return [step(f"s{i}") for i in range(count)]


def skipped(count):
    """A chain of which nothing runs."""
    return [step("s0", condition="false"), *(step(f"s{i}", f"s{i - 1}") for i in range(1, count))]


def items(count):
    return [step("all", each=list(range(count - 2)), arguments={"n": "${item}"}, at_once=7), step("last", "all")]


def run_through(run, steps, max_parallel):
    """Everything the engine asks of the domain for a workflow that succeeds."""
    work = deque()

    def perform(move):
        run.perform(move)
        work.extend(step_id for step_id, effect in changed_effects(run.state).items() if isinstance(effect, Admit))
        run.state.wake_at_us()

    perform(starts(*steps, max_parallel=max_parallel))
    while work:
        step_id = work.popleft()
        perform(begins(step_id))
        perform(completes(step_id))
    assert not run.state.running


def calls_in_domain(work):
    profile = cProfile.Profile()
    profile.enable()
    try:
        work()
    finally:
        profile.disable()
    return sum(
        entry.callcount
        for entry in profile.getstats()
        if not isinstance(entry.code, str) and entry.code.co_filename.startswith(DOMAIN)
    )


def cost_of_running(shape, count, fold=evolve):
    steps = shape(count)
    run = Run(fold=fold)
    max_parallel = 1 if shape is narrow_fan else 0
    return calls_in_domain(lambda: run_through(run, steps, max_parallel)) / count


def cost_of_validating(shape, count):
    steps = shape(count)
    return calls_in_domain(lambda: normalise(steps, VALIDATION)) / count


def cost_of_rebuilding(shape, count):
    run = Run()
    run_through(run, shape(count), 0)
    numbers = {"position": 1, "tenant_sequence": 1, "recorded_at_us": 1}
    records = [
        encode_record(event, ENVELOPE, stream_version=version, **numbers) for version, event in enumerate(run.events, 1)
    ]
    return calls_in_domain(lambda: rebuild(records, decode_record)) / count


@pytest.mark.parametrize(
    ("shape", "count"),
    [(chain, LARGE), (fan, LARGE), (narrow_fan, MEDIUM), (skipped, MEDIUM), (items, MEDIUM)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_step_costs_the_same_in_a_large_workflow(shape, count):
    assert cost_of_running(shape, count) <= GROWTH_MAX * cost_of_running(shape, SMALL)


@pytest.mark.parametrize("shape", [chain, fan], ids=lambda shape: shape.__name__)
def test_rebuilding_a_step_costs_the_same_in_a_large_workflow(shape):
    assert cost_of_rebuilding(shape, MEDIUM) <= GROWTH_MAX * cost_of_rebuilding(shape, SMALL)


@pytest.mark.parametrize("shape", [chain, fan], ids=lambda shape: shape.__name__)
def test_validating_a_step_costs_the_same_in_a_large_workflow(shape):
    assert cost_of_validating(shape, MEDIUM) <= GROWTH_MAX * cost_of_validating(shape, SMALL)


@pytest.mark.parametrize("shape", [chain, fan], ids=lambda shape: shape.__name__)
def test_a_fold_that_looks_at_every_step_is_found_out(shape):
    def looks_at_every_step(state, event):
        evolve(state, event)
        effects(state)

    assert cost_of_running(shape, 4 * SMALL, looks_at_every_step) > GROWTH_MAX * cost_of_running(
        shape, SMALL, looks_at_every_step
    )
