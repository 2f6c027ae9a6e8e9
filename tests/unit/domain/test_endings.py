"""How a workflow ends."""

from podium.v1 import definition_pb2 as pb
from podium.v1 import value_pb2
from tests.unit.domain.scenario import (
    WORKFLOW_SUCCEEDED,
    attempt_failed,
    failed,
    given,
    succeeded,
    workflow_failed,
)
from tests.unit.domain.workflow_run import Run, begins, breaks, completes, denies, fails, runs, starts, step, waits

CONTINUE = pb.ON_FAILURE_CONTINUE


def test_a_workflow_succeeds_when_all_its_steps_have():
    given(starts(step("a")), begins("a")).when(completes("a")).then(succeeded("a"), WORKFLOW_SUCCEEDED)


def test_a_workflow_fails_for_its_first_failure_once_all_else_has_ended():
    plan = starts(step("a"), step("b"), step("c", "b"))
    history = given(plan, breaks("b"), begins("a"))
    history.when(fails("a", "LATER")).then(
        attempt_failed("a", "LATER"), failed("a", "LATER"), workflow_failed("b", "TOOL_ERROR")
    )
    assert history.run.state.first_failed == "b"
    assert history.run.state.failure == value_pb2.Failure(reason="TOOL_ERROR")


def test_a_failure_that_is_continued_is_not_the_first():
    history = given(starts(step("a", on_failure=CONTINUE), step("b"), step("c")), breaks("a"), denies("b"), begins("c"))
    history.when(completes("c")).then(succeeded("c"), workflow_failed("b", "PERMISSION_DENIED"))


def test_a_workflow_succeeds_when_every_failure_is_continued():
    plan = starts(step("a", on_failure=CONTINUE), step("b", on_failure=CONTINUE))
    assert given(plan, breaks("a"), denies("b")).run.events[-1] == WORKFLOW_SUCCEEDED


def test_what_continues_a_failure_may_fail_itself():
    plan = starts(step("a", on_failure=CONTINUE), step("b", "a", join=pb.JOIN_DONE))
    assert given(plan, breaks("a"), breaks("b", reason="WORSE")).run.events[-1] == workflow_failed("b", "WORSE")


def test_an_ended_workflow_stays_as_it_is():
    history = given(starts(step("a"), step("b"), timeout_ms=1000), runs("a"), runs("b"))
    for late in (waits(10_000), begins("a"), denies("b")):
        history.when(late).then().admitting()
    assert not history.run.state.running


def test_an_unstarted_workflow_has_nothing_to_do():
    run = Run()
    assert run.perform(waits(1000)) == []
    assert run.state.wake_at_us() is None
