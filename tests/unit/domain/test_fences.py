"""Fences: only the executor that holds an attempt may say how it ended, and only once."""

import pytest

from tests.unit.domain.scenario import WORKFLOW_SUCCEEDED, given, succeeded
from tests.unit.domain.workflow_run import (
    GRACE_MS,
    begins,
    breaks,
    cancels,
    completes,
    denies,
    fails,
    queues,
    runs,
    starts,
    step,
    waits,
)

PLAN = starts(step("a", tool="look"), step("b"))
REPORTS = [completes, fails]


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize(
    "before",
    [queues("a"), runs("a"), denies("a"), breaks("a", retryable=True), breaks("a")],
    ids=["queued", "succeeded", "denied", "backing off", "failed"],
)
def test_a_report_about_what_does_not_run_is_refused(before, report):
    given(PLAN, before).when(report("a")).then_refused()


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("numbers", [{"attempt": 2}, {"attempt": 0}, {"fence": 2}, {"fence": 0}])
def test_a_report_with_a_wrong_number_is_refused(report, numbers):
    history = given(PLAN, begins("a"))
    history.when(report("a", **numbers)).then_refused()
    history.when(completes("a")).then(succeeded("a"))


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_with_the_fence_of_another_step_is_refused(report):
    given(PLAN, begins("a", "b")).when(report("a", fence=2)).then_refused()


@pytest.mark.parametrize("report", REPORTS)
def test_the_first_attempt_has_no_say_once_the_second_runs(report):
    history = given(PLAN, begins("a", timeout_ms=500), waits(500), waits(1000), begins("a"))
    history.when(report("a", attempt=1, fence=1)).then_refused()
    history.when(report("a", attempt=2, fence=1)).then_refused()
    history.when(completes("a")).then(succeeded("a", attempt=2))


def test_a_step_succeeds_once():
    given(PLAN, runs("a")).when(completes("a")).then_refused()


def test_a_report_about_an_unknown_step_is_refused():
    history = given(PLAN)
    late = next(completes("a")(history.run))
    other = type(late)(late.now_us, "unknown", 1, 1, None)
    history.when(lambda _: iter([other])).then_refused()


def test_a_report_after_the_workflow_is_refused():
    history = given(starts(step("a")), begins("a"), cancels(), waits(GRACE_MS))
    history.when(completes("a")).then_refused()
    history.when(fails("a")).then_refused()


def test_every_attempt_has_a_larger_fence_than_all_before_it():
    run = given(PLAN, begins("a", "b"), fails("a", retryable=True), waits(1000), begins("a")).run
    assert run.step("b").fence == 2
    assert run.step("a").fence == run.state.last_fence == 3
    run.perform(completes("a"))
    assert run.perform(completes("b")) == [succeeded("b"), WORKFLOW_SUCCEEDED]
