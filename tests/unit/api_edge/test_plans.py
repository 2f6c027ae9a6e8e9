"""Steps of new workflows are read in pieces, so that nobody waits for the end of a long request."""

import asyncio

import pytest

from podium.v1 import definition_pb2 as pb
from service.api.plans import Plans
from service.domain.definition import Draft
from service.domain.errors import InvalidInput
from service.domain.validation import Validation
from tests.unit.domain.workflow_run import EXPRESSIONS, TOOLS, VALIDATION, step

STEPS = 3_000
PASSES_MIN = STEPS // 200
"""Of the loop, while so many steps are read: one each few milliseconds."""


async def passes_during(work):
    """How often others had their turn while something was done."""
    passes, loop, ended = 0, asyncio.get_running_loop(), False

    def count():
        nonlocal passes
        passes += 1
        if not ended:
            loop.call_soon(count)

    loop.call_soon(count)
    outcome = await work
    ended = True
    return passes, outcome


def draft_of(steps, validation=VALIDATION):
    return Draft(steps, validation)


def read_in_pieces(draft, worked_us=lambda: 0):
    """Read a draft, as if to compute took no time where nothing else is told."""
    return Plans(lambda _: VALIDATION, worked_us).read(draft)


class Slow:
    """Checks arguments as if each took so long."""

    def __init__(self, each_us):
        self.work_us = 0
        self._each_us = each_us
        self.validation = Validation(TOOLS.get, self._check, EXPRESSIONS)

    def _check(self, _tool, _template):
        self.work_us += self._each_us
        return []

    def worked_us(self):
        return self.work_us


def chain(count):
    return [step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(count)]


async def test_others_have_their_turn_while_a_long_request_is_read():
    passes, draft = await passes_during(read_in_pieces(draft_of(chain(STEPS))))
    assert passes >= PASSES_MIN
    assert len(draft.finish()) == STEPS


async def test_a_few_long_steps_are_pieces_of_their_own():
    long = [step(f"s{i}", arguments={"a": ["${input}"] * 2_000}) for i in range(20)]
    assert (await passes_during(read_in_pieces(draft_of(long))))[0] >= len(long)


async def test_a_long_literal_is_read_and_checked_in_turns_of_their_own():
    long = step("a", arguments={"a": [1] * 50_000})
    passes, draft = await passes_during(read_in_pieces(draft_of([long])))
    assert passes >= 2
    assert len(draft.finish()) == 1
    assert (await passes_during(read_in_pieces(draft_of([step("a")]))))[0] == 0, "a short one takes no turn"


async def test_a_few_steps_whose_arguments_take_long_to_check_are_pieces_of_their_own():
    few = [step(f"s{i}") for i in range(20)]
    slow = Slow(each_us=10_000)
    passes, draft = await passes_during(read_in_pieces(draft_of(few, slow.validation), slow.worked_us))
    assert passes >= 9
    assert len(draft.finish()) == len(few)
    quick = Slow(each_us=100)
    assert (await passes_during(read_in_pieces(draft_of(few, quick.validation), quick.worked_us)))[0] == 0


async def test_each_link_of_a_chain_is_a_piece():
    slow = Slow(each_us=30_000)
    links = [pb.Fallback(tool=pb.ToolFallback(tool="work", arguments_json="{}")) for _ in range(8)]
    chained = step("a")
    chained.fallback.extend(links)
    passes, draft = await passes_during(read_in_pieces(draft_of([chained], slow.validation), slow.worked_us))
    assert passes >= len(links)
    assert len(draft.finish()[0].fallback) == len(links)


async def test_a_request_that_is_read_at_once_is_found_out():
    async def at_once():
        for _ in draft_of(chain(STEPS)).read():
            pass

    assert (await passes_during(at_once()))[0] < PASSES_MIN


async def test_a_short_plan_takes_no_turn_and_is_remembered():
    plans = Plans(lambda _: VALIDATION, lambda: 0)

    async def prepare():
        return await plans.prepare("acme", [step("a")], shorthand=False, path="steps[{}]")

    passes, first = await passes_during(prepare())
    assert passes == 0
    assert first() is (await prepare())()


async def test_what_is_wrong_is_raised_by_whoever_wants_the_steps():
    plans = Plans(lambda _: VALIDATION, lambda: 0)
    plan = await plans.prepare("acme", [pb.StepDefinition(tool="unknown")], shorthand=False, path="steps[{}]")
    for _ in range(2):
        with pytest.raises(InvalidInput, match="unknown is not registered"):
            plan()
