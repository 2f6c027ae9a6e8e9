"""Conditions as the decider uses them: their outcome is an event, and the fold never evaluates."""

import pytest

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2, value_pb2
from service.domain.values import PayloadNotLoadedError
from tests.unit.domain.scenario import (
    WORKFLOW_SUCCEEDED,
    collected,
    expanded,
    failed,
    given,
    met,
    succeeded,
    unjoined,
    unwanted,
    workflow_failed,
)
from tests.unit.domain.workflow_run import Run, adds, begins, breaks, completes, denies, looks_again, runs, starts, step


def input_of(language):
    return starts(step("a", condition='input.lang == "de"'), step("b", "a"), value={"lang": language})


def test_a_true_condition_is_recorded_and_the_step_is_admitted():
    given().when(input_of("de")).admitting("a")
    assert given(input_of("de")).run.events[-1] == met("a")


def test_a_false_condition_skips_the_step_and_what_needs_it():
    assert given(input_of("en")).run.events[2:] == [unwanted("a"), unjoined("b"), WORKFLOW_SUCCEEDED]


def test_a_condition_waits_for_the_steps_it_names():
    begun = given(starts(step("a"), step("b", condition="steps.a.output.found > 0")), begins("a"))
    begun.when(completes("a", {"found": 2})).then(succeeded("a", '{"found": 2}'), met("b")).admitting("b")


def test_a_condition_sees_how_a_step_ended():
    plan = starts(
        step("a", on_failure=pb.ON_FAILURE_CONTINUE),
        step("b", join=pb.JOIN_DONE, condition='steps.a.state == "failed" && steps.a.output == null'),
    )
    given(plan).when(breaks("a")).admitting("b")


@pytest.mark.parametrize("condition", ["input.missing > 1", "input.text > 1", "steps.a.output.x == 1"])
def test_a_condition_that_cannot_be_evaluated_fails_the_step(condition):
    plan = starts(step("a"), step("b", "a", condition=condition), value={"text": "many"})
    outcome = given(plan, begins("a")).when(completes("a", {}))
    outcome.then(
        succeeded("a", "{}"),
        failed("b", "CONDITION_ERROR"),
        workflow_failed("b", "CONDITION_ERROR"),
    )


LARGE = 2**64 + 1


def test_a_whole_number_beyond_64_bits_fails_the_condition_that_reads_it_and_says_what_to_do():
    plan = starts(step("a"), step("b", "a", condition="steps.a.output.n > 5", on_failure=pb.ON_FAILURE_CONTINUE))
    outcome = given(plan, begins("a")).when(completes("a", {"n": LARGE}))
    [failure] = [event.failure for event in outcome.run.events if isinstance(event, events_pb2.StepFailed)]
    assert failure.reason == "CONDITION_ERROR"
    problem = "steps.a.output.n is a whole number beyond 64 bits, which no condition reads: let it be given as a string"
    assert failure.message == f"the condition could not be evaluated: {problem}"


def test_it_does_no_harm_to_a_condition_that_reads_something_else():
    plan = starts(step("a"), step("b", "a", condition="steps.a.output.ok"))
    given(plan, begins("a")).when(completes("a", {"ok": True, "n": LARGE})).admitting("b")


def test_a_sealed_value_fails_the_condition_and_not_the_turn():
    run = Run()
    run.perform(starts(step("a"), step("b", condition="steps.a.output != null")))
    sealed = value_pb2.Value(sealed=value_pb2.SealedValue(key_id="key"))
    run.perform(begins("a"))
    run.perform(completes("a", sealed))
    assert run.step("b").failure.reason == "CONDITION_ERROR"


def test_a_large_value_is_asked_for_before_a_condition_is_decided():
    run = Run()
    run.perform(starts(step("a"), step("b", condition="steps.a.output.ok")))
    run.perform(begins("a"))
    reference = value_pb2.PayloadReference(digest=b"digest")
    with pytest.raises(PayloadNotLoadedError) as missing:
        run.perform(completes("a", value_pb2.Value(payload=reference)))
    assert missing.value.reference == reference
    run.payloads[b"digest"] = '{"ok": true}'
    assert run.perform(looks_again()) == [met("b")]


def test_a_condition_is_evaluated_once():
    plan = starts(step("a"), step("b"), step("c", "a", "b", join=pb.JOIN_ANY, condition="true"))
    run = given(plan, runs("a"), runs("b")).run
    assert run.events.count(met("c")) == 1


def test_a_condition_under_any_sees_the_others_as_they_are():
    plan = starts(step("a"), step("b"), step("c", "a", "b", join=pb.JOIN_ANY, condition='steps.b.state == "running"'))
    given(plan, begins("a", "b")).when(completes("a")).then(succeeded("a"), met("c"))


def test_a_condition_guards_a_for_each_as_a_whole():
    plan = starts(step("a", each=[1, 2], condition="input"), step("b", each=[1], condition="!input"), value=True)
    run = given(plan).run
    assert run.events[2:] == [met("a"), unwanted("b"), expanded("a", 2)]


def test_a_for_each_never_runs_as_a_whole_whatever_ends_while_its_condition_is_met():
    # Both settle in one round: b ends in the round in which c's condition is met, and c may go on without it.
    plan = starts(
        step("a"),
        step("b", "a", condition="false"),
        step("c", "a", "b", join=pb.JOIN_ANY, condition="true", each=["x"]),
    )
    outcome = given(plan, begins("a")).when(completes("a"))
    outcome.then(succeeded("a"), unwanted("b"), met("c"), expanded("c", 1)).admitting("c[0]")
    other_order = starts(
        step("a"),
        step("c", "a", "b", join=pb.JOIN_ANY, condition="true", each=["x"]),
        step("b", "a", condition="false"),
    )
    outcome = given(other_order, begins("a")).when(completes("a"))
    outcome.then(succeeded("a"), met("c"), unwanted("b"), expanded("c", 1)).admitting("c[0]")
    outcome = given(other_order, begins("a"), completes("a"), begins("c[0]")).when(completes("c[0]"))
    outcome.then(succeeded("c[0]"), collected("c", 1), WORKFLOW_SUCCEEDED)


def test_a_condition_may_name_steps_that_ended_before_the_step_was_added():
    history = given(starts(step("a"), open=True), runs("a", {"n": 1}))
    history.when(adds(step("b", condition="steps.a.output.n == 1"))).admitting("b")
    history = given(starts(step("a"), open=True), denies("a"))
    history.when(adds(step("b", condition='steps.a.state == "denied"', join=pb.JOIN_DONE))).admitting("b")
