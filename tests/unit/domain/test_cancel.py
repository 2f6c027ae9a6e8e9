"""Canceling: what waits ends at once, what runs gets its grace, and the first durable outcome wins."""

import json

import pytest

from podium.v1 import definition_pb2 as pb
from service.domain import commands as c
from service.domain.effects import Run as RunEffect
from service.domain.effects import effects
from service.domain.values import output_text
from tests.unit.domain.scenario import (
    WORKFLOW_CANCELED,
    WORKFLOW_SUCCEEDED,
    abandoned,
    attempt_failed,
    cancel_requested,
    canceled,
    collected,
    failed,
    given,
    succeeded,
    workflow_failed,
)
from tests.unit.domain.workflow_run import (
    GRACE_MS,
    adds,
    begins,
    breaks,
    cancels,
    completes,
    denies,
    fails,
    finishes,
    queues,
    runs,
    starts,
    step,
    waits,
)

CHAIN = starts(step("a"), step("b", "a"), step("c"))


def test_what_has_not_begun_ends_at_once():
    history = given(CHAIN, queues("c"))
    outcome = history.when(cancels("no need"))
    outcome.then(cancel_requested("no need"), WORKFLOW_CANCELED).admitting().queueing()
    assert history.run.state.unfinished == 0


def test_what_runs_is_told_and_keeps_running():
    history = given(CHAIN, begins("a"))
    history.when(cancels()).then(cancel_requested()).admitting()
    assert effects(history.run.state) == {"a": RunEffect("a", 1, 1, canceled=True)}


def test_an_attempt_that_answers_the_cancel_is_canceled():
    history = given(CHAIN, begins("a"), cancels())
    history.when(fails("a", "CANCELED")).then(attempt_failed("a", "CANCELED"), canceled("a"), WORKFLOW_CANCELED)


def test_a_result_after_the_request_still_counts():
    history = given(CHAIN, begins("a"), cancels())
    history.when(completes("a", 1)).then(succeeded("a", "1"), WORKFLOW_CANCELED)


def test_a_workflow_whose_every_step_succeeds_in_the_grace_has_succeeded():
    history = given(starts(step("a"), step("b")), runs("a"), begins("b"), cancels())
    history.when(completes("b")).then(succeeded("b"), WORKFLOW_SUCCEEDED)


def test_a_failure_before_the_request_still_counts():
    history = given(starts(step("a"), step("b")), breaks("a"), begins("b"), cancels())
    history.when(completes("b")).then(succeeded("b"), workflow_failed("a", "TOOL_ERROR"))


def test_a_failure_in_the_grace_is_not_repeated():
    history = given(starts(step("a", tool="look")), begins("a"), cancels())
    history.when(fails("a", retryable=True)).then(
        attempt_failed("a", "TOOL_ERROR", retryable=True), canceled("a"), WORKFLOW_CANCELED
    )


def test_a_step_that_waits_for_its_next_attempt_is_canceled():
    history = given(starts(step("a", tool="look")), breaks("a", retryable=True))
    history.when(cancels()).then(cancel_requested(), WORKFLOW_CANCELED)
    history.when(waits(60_000)).then().admitting()


def test_what_runs_beyond_the_grace_is_abandoned_and_may_still_run():
    history = given(starts(step("a"), step("b")), begins("a", "b"), cancels(), completes("b"))
    history.when(waits(GRACE_MS - 1)).then()
    history.when(waits(1)).then(abandoned("a"), canceled("a"), WORKFLOW_CANCELED)
    history.when(completes("a")).then_refused()


def test_an_attempt_that_times_out_in_the_grace_is_abandoned_then():
    history = given(starts(step("a")), begins("a", timeout_ms=500), cancels())
    history.when(waits(500)).then(
        abandoned("a"), attempt_failed("a", "TIMEOUT", retryable=True), canceled("a"), WORKFLOW_CANCELED
    )


def test_a_workflow_that_times_out_in_the_grace_has_timed_out():
    history = given(starts(step("a"), timeout_ms=500), begins("a"), cancels())
    history.when(waits(500)).then(abandoned("a"), workflow_failed("", "WORKFLOW_TIMEOUT", retryable=True))


def test_the_grace_that_ends_before_the_workflows_time_counts_though_both_are_past():
    history = given(starts(step("a"), timeout_ms=60_000), begins("a"), cancels())
    history.when(waits(90_000)).then(abandoned("a"), canceled("a"), WORKFLOW_CANCELED)


def test_a_second_request_changes_nothing():
    history = given(CHAIN, begins("a"), cancels("first"), waits(5000))
    history.when(cancels("second")).then()
    assert history.run.state.grace_ends_at_us == history.run.events[-1].grace_ends_at_us


@pytest.mark.parametrize("ending", [runs, breaks, denies])
def test_a_workflow_that_ended_is_not_canceled(ending):
    given(starts(step("a")), ending("a")).when(cancels()).then()


def test_a_workflow_that_never_began_is_not_canceled():
    given().when(cancels()).then()


def test_nothing_is_added_during_the_grace():
    history = given(starts(step("a"), open=True), begins("a"), cancels())
    history.when(adds(step("b"))).then_refused("WORKFLOW_NOT_OPEN")
    history.when(finishes()).then()


def test_an_empty_open_workflow_is_canceled():
    given(starts(open=True)).when(cancels()).then(cancel_requested(), WORKFLOW_CANCELED)


def test_an_open_workflow_was_cut_short_though_all_its_steps_succeeded():
    given(starts(step("a"), open=True), runs("a")).when(cancels()).then(cancel_requested(), WORKFLOW_CANCELED)


def test_a_finished_workflow_is_not_cut_short():
    history = given(starts(step("a"), open=True), begins("a"), finishes(), cancels())
    history.when(completes("a")).then(succeeded("a"), WORKFLOW_SUCCEEDED)


def test_a_result_and_a_request_in_one_turn_leave_the_result():
    run = given(starts(step("a")), begins("a")).run
    run.apply(next(completes("a")(run)))
    assert run.perform(cancels()) == [cancel_requested(), WORKFLOW_SUCCEEDED]


# Items of a for_each step


def over(items, **fields):
    return starts(step("a", each=items, **fields), step("b", "a"))


def test_items_that_have_not_begun_end_with_their_step():
    history = given(over([1, 2, 3], at_once=2))
    history.when(cancels()).then(cancel_requested(), canceled("a"), WORKFLOW_CANCELED)
    assert history.run.state.unfinished == 0


def test_a_for_each_step_ends_when_its_running_items_have():
    history = given(over([1, 2, 3], at_once=2), begins("a[0]", "a[1]"))
    history.when(cancels()).then(cancel_requested())
    history.when(completes("a[1]", "late")).then(succeeded("a[1]", '"late"'))
    history.when(waits(GRACE_MS)).then(abandoned("a[0]"), canceled("a[0]"), canceled("a"), WORKFLOW_CANCELED)
    assert (history.run.step("a").items_running, history.run.state.running_slots) == (0, 0)


def test_a_for_each_step_whose_every_item_succeeds_in_the_grace_has_succeeded():
    plan = starts(step("a", each=[1, 2]))
    history = given(plan, runs("a[0]", "x"), begins("a[1]"), cancels())
    history.when(completes("a[1]", "y")).then(succeeded("a[1]", '"y"'), collected("a", 2), WORKFLOW_SUCCEEDED)
    assert json.loads(output_text(history.run.step("a"), history.run.payloads)) == ["x", "y"]


def test_a_for_each_step_whose_items_all_ended_before_the_request_keeps_its_result():
    run = given(starts(step("a", each=[1])), begins("a[0]")).run
    run.apply(next(completes("a[0]")(run)))
    assert run.perform(cancels()) == [cancel_requested(), collected("a", 1), WORKFLOW_SUCCEEDED]


def test_a_failed_item_in_the_grace_is_a_canceled_one():
    history = given(starts(step("a", each=[1], on_failure=pb.ON_FAILURE_CONTINUE)), begins("a[0]"), cancels())
    history.when(fails("a[0]")).then(
        attempt_failed("a[0]", "TOOL_ERROR"), canceled("a[0]"), canceled("a"), WORKFLOW_CANCELED
    )


def test_a_failed_item_before_the_request_still_counts():
    history = given(starts(step("a", each=[1, 2])), breaks("a[0]"), begins("a[1]"), cancels())
    history.when(completes("a[1]")).then(
        succeeded("a[1]"), failed("a", "ITEMS_FAILED"), workflow_failed("a", "ITEMS_FAILED")
    )


def test_a_for_each_that_has_not_been_expanded_is_canceled_with_the_rest():
    history = given(starts(step("a"), step("b", each="${steps.a.output}")), begins("a"))
    history.when(cancels()).then(cancel_requested())
    history.when(completes("a", [1])).then(succeeded("a", "[1]"), WORKFLOW_CANCELED)


def test_what_was_about_to_be_settled_is_canceled():
    run = given(starts(step("a"), step("b", "a", condition="true")), begins("a")).run
    run.apply(next(completes("a")(run)))
    assert run.perform(cancels()) == [cancel_requested(), WORKFLOW_CANCELED]
    assert not run.state.to_settle


def test_nothing_is_held_after_the_request():
    plan = starts(step("a", each=[1, 2], at_once=1), step("b"), step("c"), max_parallel=1)
    run = given(plan, begins("b")).run
    assert (len(run.state.held), len(run.step("a").items_held or ())) == (2, 1)
    run.perform(cancels())
    assert (len(run.state.held), len(run.step("a").items_held or ())) == (0, 0)


def test_no_attempt_begins_after_the_request():
    history = given(CHAIN, begins("a"))
    check_before = next(begins("c")(history.run))
    history.run.perform(cancels())
    assert history.run.apply(check_before) == []
    assert history.run.apply(c.Advance(history.run.now_us)) == []
