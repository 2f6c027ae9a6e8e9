"""How many steps run at once: the workflow's limit, a for_each step's, and both together."""

from podium.v1 import definition_pb2 as pb
from service.domain import commands as c
from tests.unit.domain.scenario import given, queued
from tests.unit.domain.workflow_run import (
    allowed,
    answers,
    begins,
    breaks,
    completes,
    denies,
    queues,
    runs,
    starts,
    step,
    waits,
)

CONTINUE = pb.ON_FAILURE_CONTINUE


def four(max_parallel, **fields):
    return starts(*(step(name, on_failure=CONTINUE, **fields) for name in "abcd"), max_parallel=max_parallel)


def test_no_more_steps_come_up_than_may_run_at_once():
    given().when(four(2)).admitting("a", "b")


def test_without_a_limit_all_come_up():
    given().when(four(0)).admitting("a", "b", "c", "d")


def test_held_steps_come_up_in_their_order():
    given(four(2)).when(runs("b")).admitting("a", "c")
    given(four(2), runs("b")).when(runs("a")).admitting("c", "d")


def test_every_ending_frees_the_place():
    history = given(four(1), runs("a"), breaks("b"), denies("c"))
    history.when(answers("d")).admitting()
    assert history.run.state.running_slots == 0


def test_a_queued_step_keeps_its_place():
    given(four(1)).when(queues("a")).then(queued("a", 30_000)).admitting()


def test_a_step_that_waits_for_another_attempt_keeps_its_place():
    given(four(1, tool="look")).when(breaks("a", retryable=True)).admitting()


def test_a_held_step_cannot_begin():
    history = given(four(1))
    run = history.run
    check = allowed(run, "b")
    begin = c.StartAttempt(run.now_us, "b", check, "worker", "session", 1000)
    assert run.apply(begin) == []
    history.when(queues("b")).then().admitting("a")
    history.when(denies("b")).then().admitting("a")


def test_skipped_steps_take_no_place():
    plan = starts(step("a", condition="false"), step("b"), step("c"), max_parallel=1)
    given().when(plan).admitting("b")


def test_items_share_the_places_of_the_workflow():
    plan = starts(step("a", each=[1, 2, 3]), step("b"), max_parallel=2)
    given().when(plan).admitting("b", "a[0]")
    given(plan).when(runs("b")).admitting("a[0]", "a[1]")


def test_both_limits_hold_together():
    plan = starts(step("a", each=[1, 2, 3], at_once=1), step("b", each=[1, 2, 3], at_once=2), max_parallel=2)
    given().when(plan).admitting("a[0]", "b[0]")
    given(plan).when(runs("b[0]")).admitting("a[0]", "b[1]")
    given(plan, runs("b[0]"), runs("b[1]")).when(runs("a[0]")).admitting("a[1]", "b[2]")


def test_a_long_for_each_does_not_starve_the_others():
    plan = starts(step("a", each=list(range(9)), at_once=1), step("b"), step("c", "b"), max_parallel=1)
    run = given(plan).run
    order = []
    for _ in range(4):
        came_up = next(s.id for s in run.state.steps.values() if s.holds_slot)
        order.append(came_up)
        run.perform(runs(came_up))
    assert order == ["b", "a[0]", "c", "a[1]"]


def test_a_limit_of_one_runs_everything_one_by_one():
    run = given(four(1)).run
    for name in "abcd":
        run.perform(begins(name))
        assert run.state.running_slots == 1
        run.perform(waits(10))
        run.perform(completes(name))
    assert not run.state.running
