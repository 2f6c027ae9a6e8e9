"""What must be true of a step's dependencies before it runs, and when it cannot become true any more."""

import pytest

from podium.v1 import definition_pb2 as pb
from tests.unit.domain.scenario import (
    WORKFLOW_SUCCEEDED,
    denied,
    failed,
    given,
    succeeded,
    unjoined,
    workflow_failed,
)
from tests.unit.domain.workflow_run import answers, begins, breaks, completes, denies, runs, starts, step

CONTINUE = pb.ON_FAILURE_CONTINUE


def joined(join, count=0):
    """A step `end` that joins three others, whose failures leave the workflow alone."""
    branches = [step(name, on_failure=CONTINUE) for name in "abc"]
    return starts(*branches, step("end", "a", "b", "c", join=join, join_count=count))


def ends_badly(step_id, how):
    if how == "failed":
        return breaks(step_id)
    return denies(step_id)


def test_steps_without_dependencies_are_admitted_at_once():
    given().when(starts(step("a"), step("b"))).admitting("a", "b")


def test_a_step_waits_for_what_it_depends_on():
    given(starts(step("a"), step("b", "a"), step("c", "b"))).when(runs("a")).admitting("b")


def test_a_chain_runs_one_step_after_the_other():
    chain = starts(step("a"), step("b", "a"), step("c", "b"))
    outcome = given(chain, runs("a"), runs("b"), begins("c")).when(completes("c"))
    outcome.then(succeeded("c"), WORKFLOW_SUCCEEDED).admitting()


def test_a_step_may_be_submitted_before_what_it_depends_on():
    given(starts(step("b", "a"), step("a"))).when(runs("a")).admitting("b")


def test_all_waits_for_the_last_dependency():
    given(joined(pb.JOIN_ALL), runs("a"), runs("b"), begins("c")).when(completes("c")).admitting("end")


def test_all_is_the_join_of_a_step_that_names_none():
    given(joined(pb.JOIN_UNSPECIFIED), runs("a")).when(runs("b")).admitting("c")


@pytest.mark.parametrize("how", ["failed", "denied"])
def test_all_cannot_be_met_after_one_ended_without_an_output(how):
    outcome = given(joined(pb.JOIN_ALL), begins("c")).when(ends_badly("a", how))
    assert outcome.run.events[-1] == unjoined("end")


def test_a_skipped_step_has_its_dependents_skipped():
    chain = starts(step("a", condition="false"), step("b", "a"), step("c", "b"), step("other"))
    given().when(chain).admitting("other")
    run = given(chain).run
    assert run.events[-2:] == [unjoined("b"), unjoined("c")]


def test_a_skip_does_not_wait_for_the_other_dependencies():
    given(joined(pb.JOIN_ALL)).when(denies("a")).admitting("b", "c")
    assert given(joined(pb.JOIN_ALL), denies("a")).run.events[-1] == unjoined("end")


@pytest.mark.parametrize("how", ["failed", "denied"])
def test_done_waits_for_all_and_does_not_mind_how_they_end(how):
    before_the_last = given(joined(pb.JOIN_DONE), ends_badly("a", how), runs("b"), begins("c"))
    before_the_last.when(completes("c")).admitting("end")


def test_done_runs_after_skipped_steps():
    plan = starts(step("a", condition="false"), step("b", "a", join=pb.JOIN_DONE))
    given().when(plan).admitting("b")


def test_any_runs_as_soon_as_one_succeeds():
    given(joined(pb.JOIN_ANY)).when(answers("b")).admitting("a", "c", "end")


def test_any_runs_once_however_many_succeed():
    run = given(joined(pb.JOIN_ANY), runs("b"), runs("end"), runs("a")).run
    assert run.perform(runs("c"))[-2:] == [succeeded("c"), WORKFLOW_SUCCEEDED]
    assert run.events.count(succeeded("end")) == 1


def test_any_survives_failures_while_one_may_still_succeed():
    given(joined(pb.JOIN_ANY), breaks("a"), denies("b")).when(runs("c")).admitting("end")


def test_any_cannot_be_met_after_all_ended_without_an_output():
    refused = given(joined(pb.JOIN_ANY), breaks("a"), breaks("b")).when(denies("c"))
    assert refused.run.events[-3:] == [denied("c"), unjoined("end"), WORKFLOW_SUCCEEDED]


def test_any_of_nothing_is_met():
    given().when(starts(step("a", join=pb.JOIN_ANY))).admitting("a")


def test_n_of_runs_as_soon_as_so_many_succeed():
    given(joined(pb.JOIN_N_OF, 2), runs("a"), begins("c")).when(completes("c")).admitting("b", "end")


def test_n_of_survives_as_many_failures_as_it_can_spare():
    given(joined(pb.JOIN_N_OF, 2), breaks("a"), runs("b")).when(runs("c")).admitting("end")


def test_n_of_cannot_be_met_once_too_few_are_left():
    outcome = given(joined(pb.JOIN_N_OF, 2), breaks("a")).when(denies("b"))
    assert outcome.run.events[-1] == unjoined("end")
    outcome.admitting("c")


def test_what_is_skipped_fails_no_workflow():
    plan = starts(step("a", condition="false"), step("b", "a"))
    assert given(plan).run.events[-1] == WORKFLOW_SUCCEEDED


def test_a_failure_skips_its_dependents_and_ends_the_workflow_once_all_else_has():
    plan = starts(step("a"), step("b", "a"), step("other"))
    first = given(plan, begins("a", "other")).when(denies("a"))
    first.then()
    outcome = given(plan, begins("other"), breaks("a")).when(completes("other"))
    outcome.then(succeeded("other"), workflow_failed("a", "TOOL_ERROR"))
    assert outcome.run.events[-4:-2] == [failed("a", "TOOL_ERROR"), unjoined("b")]
