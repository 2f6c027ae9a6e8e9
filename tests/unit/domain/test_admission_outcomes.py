"""What becomes of a step whose admission refused it, knew the answer, or could not make its arguments."""

import pytest

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2
from service.domain import commands as c
from tests.unit.domain.scenario import (
    WORKFLOW_SUCCEEDED,
    attempt_started,
    checked,
    denied,
    failure,
    given,
    succeeded,
    unjoined,
    workflow_failed,
)
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

REFUSED = checked("a", decision=events_pb2.DECISION_DENY)


def test_a_denied_step_ends_with_the_decision_in_the_record_before_it():
    outcome = given(starts(step("a"))).when(denies("a"))
    outcome.then(REFUSED, denied("a"), workflow_failed("a", "PERMISSION_DENIED"))


def test_a_denied_step_skips_what_needs_it_and_lets_the_rest_run():
    plan = starts(step("a"), step("b", "a"), step("c", "a", join=pb.JOIN_DONE), step("d"))
    given(plan).when(denies("a")).then(REFUSED, denied("a"), unjoined("b")).admitting("c", "d")


def test_a_denied_step_may_leave_the_workflow_alone():
    plan = starts(step("a", on_failure=pb.ON_FAILURE_CONTINUE))
    given(plan).when(denies("a")).then(REFUSED, denied("a"), WORKFLOW_SUCCEEDED)


def test_refused_arguments_are_recorded_before_the_denial():
    run = given(starts(step("a"))).run
    rejected = events_pb2.InputRejected(step_id="a", field="arguments.url", guard="schema", message="is no URL")
    command = c.DenyStep(run.now_us, "a", "schema", failure("INVALID_ARGUMENTS"), allowed(run, "a"), rejected)
    assert run.apply(command) == [checked("a"), rejected, denied("a", "INVALID_ARGUMENTS", "schema")]


def test_a_guard_before_the_permissions_denies_without_a_decision_of_theirs():
    run = given(starts(step("a"))).run
    assert run.apply(c.DenyStep(run.now_us, "a", "address", failure("ADDRESS_BLOCKED"))) == [
        denied("a", "ADDRESS_BLOCKED", "address")
    ]


@pytest.mark.parametrize("before", [queues("a"), breaks("a", retryable=True)], ids=["queued", "backing off"])
def test_a_permission_that_was_taken_away_denies_the_next_attempt(before):
    history = given(starts(step("a", tool="look")), before, waits(1000))
    outcome = history.when(denies("a"))
    assert outcome.run.events[-1] == workflow_failed("a", "PERMISSION_DENIED")


def test_an_allowed_attempt_is_recorded_with_its_decision_first():
    given(starts(step("a"))).when(begins("a")).then(checked("a"), attempt_started("a", deadline_ms=60_000))


def test_a_known_answer_ends_the_step_without_an_attempt():
    plan = starts(step("a"), step("b", arguments={"x": "${steps.a.output}"}))
    outcome = given(plan).when(answers("a", [1]))
    outcome.then(checked("a"), succeeded("a", "[1]", attempt=0)).admitting("b").with_arguments("b", {"x": [1]})
    assert outcome.run.step("a").attempts == 0


@pytest.mark.parametrize("late", [begins("a"), queues("a"), denies("a"), answers("a")])
@pytest.mark.parametrize("ending", [begins("a"), runs("a"), denies("a")], ids=["running", "succeeded", "denied"])
def test_what_admission_found_too_late_changes_nothing(ending, late):
    given(starts(step("a"), step("b")), ending).when(late).then()


@pytest.mark.parametrize("early", [begins("b"), queues("b"), denies("b"), answers("b")])
def test_what_admission_found_too_early_changes_nothing(early):
    given(starts(step("a"), step("b", "a"))).when(early).then()


def test_an_output_may_be_missing():
    run = given(starts(step("a"), step("b", arguments={"x": "${steps.a.output}"})), begins("a")).run
    run.perform(lambda run: iter([c.CompleteAttempt(run.now_us, "a", 1, 1, None)]))
    assert run.arguments("b") == {"x": None}


def test_the_number_of_chunks_is_kept_with_the_output():
    run = given(starts(step("a")), begins("a")).run
    complete = c.CompleteAttempt(run.now_us, "a", 1, 1, None, chunk_count=3, chunks_digest=b"digest")
    [event] = run.apply(complete)
    assert (event.chunk_count, event.chunks_digest) == (3, b"digest")
    assert run.step("a").chunk_count == 3


def test_a_step_that_runs_again_is_the_executors_who_took_it_last():
    history = given(starts(step("a", tool="look")), breaks("a", retryable=True), waits(1000))
    run = history.run
    run.apply(c.StartAttempt(run.now_us, "a", allowed(run, "a"), "other", "another", 1000))
    assert (run.step("a").executor, run.step("a").session_id) == ("other", "another")
    history.when(completes("a")).then(succeeded("a", attempt=2), WORKFLOW_SUCCEEDED)
