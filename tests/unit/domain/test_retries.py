"""Which failures are repeated, when, and how often."""

import pytest

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2, value_pb2
from service.domain.decide import Rules
from service.domain.retry import RetryDefaults, is_repeated, next_attempt_at_us
from service.domain.state import LATEST_US
from tests.unit.domain.scenario import (
    WORKFLOW_SUCCEEDED,
    attempt_failed,
    attempt_started,
    checked,
    failed,
    given,
    succeeded,
    workflow_failed,
)
from tests.unit.domain.workflow_run import begins, breaks, completes, fails, queues, runs, starts, step, waits

NO_JITTER = Rules(retry=RetryDefaults(max_attempts=3, initial_backoff_ms=100, max_backoff_ms=1000, jitter=0))
ANYTHING = "*"


def plan(tool="look", **policy):
    return starts(step("a", tool=tool, retry=pb.RetryPolicy(**policy)))


def next_ms(attempts=1, now_ms=0, budget_ends_ms=0, chance=0.5, after_ms=0, **policy):
    definition = pb.StepDefinition(repeatable=True, retry=pb.RetryPolicy(**policy))
    at_us = next_attempt_at_us(
        definition,
        value_pb2.Failure(reason="TOOL_ERROR", retryable=True, retry_after_ms=after_ms),
        attempts=attempts,
        budget_ends_at_us=budget_ends_ms * 1000,
        now_us=now_ms * 1000,
        chance=chance,
    )
    return None if at_us is None else at_us / 1000


def test_a_repeated_failure_waits_and_runs_again():
    history = given(plan(), begins("a"), rules=NO_JITTER)
    history.when(fails("a", retryable=True)).then(
        attempt_failed("a", "TOOL_ERROR", retryable=True, retry_ms=100)
    ).admitting()
    history.when(waits(100)).then()
    history.when(begins("a")).then(
        checked("a", attempt=2), attempt_started("a", attempt=2, fence=2, deadline_ms=60_100)
    )
    history.when(completes("a")).then(succeeded("a", attempt=2), WORKFLOW_SUCCEEDED)


def test_the_last_failure_is_the_steps():
    history = given(plan(max_attempts=2), breaks("a", retryable=True), waits(100), begins("a"), rules=NO_JITTER)
    history.when(fails("a", "OTHER", retryable=True)).then(
        attempt_failed("a", "OTHER", attempt=2, retryable=True),
        failed("a", "OTHER", retryable=True),
        workflow_failed("a", "OTHER", retryable=True),
    )


def test_a_success_forgets_the_failures_before_it():
    run = given(plan(), breaks("a", retryable=True), waits(100), runs("a"), rules=NO_JITTER).run
    assert run.step("a").failure is None
    assert run.state.failure is None


def test_a_step_may_be_queued_for_its_next_attempt():
    history = given(plan(), breaks("a", retryable=True), waits(100), rules=NO_JITTER)
    history.when(queues("a")).queueing("a")
    history.when(runs("a")).then(
        checked("a", attempt=2),
        attempt_started("a", attempt=2, fence=2, deadline_ms=60_100),
        succeeded("a", attempt=2),
        WORKFLOW_SUCCEEDED,
    )


@pytest.mark.parametrize(("attempts", "expected"), [(1, 100), (2, 300), (3, 900), (4, 1000), (5, 1000), (900, 1000)])
def test_waits_grow_by_the_multiplier_up_to_the_longest(attempts, expected):
    policy = {"initial_backoff_ms": 100, "multiplier": 3, "max_backoff_ms": 1000, "jitter": 0, "max_attempts": 1000}
    assert next_ms(attempts, **policy) == expected


def test_a_policy_that_says_nothing_has_the_defaults():
    assert next_ms(1, jitter=0) == 500
    assert next_ms(2, jitter=0) == 1000
    assert next_ms(3, jitter=0) is None


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 800), (0.5, 900), (0.999999, 999.9998)])
def test_jitter_takes_away_at_most_its_part(chance, expected):
    policy = {"initial_backoff_ms": 1000, "jitter": 0.2}
    assert next_ms(chance=chance, **policy) == pytest.approx(expected, abs=0.001)


def test_a_jitter_of_one_may_take_away_everything_and_a_jitter_of_none_nothing():
    assert next_ms(now_ms=7, chance=0.0, jitter=1, initial_backoff_ms=1000) == 7
    assert next_ms(now_ms=7, chance=0.0, jitter=0, initial_backoff_ms=1000) == 1007


@pytest.mark.parametrize(("after_ms", "expected"), [(0, 100), (50, 100), (5000, 5000)])
def test_a_tool_that_asks_for_a_longer_wait_gets_it(after_ms, expected):
    assert next_ms(initial_backoff_ms=100, max_backoff_ms=1000, jitter=0, after_ms=after_ms) == expected


def test_a_wait_of_centuries_is_recorded_as_for_ever():
    history = given(plan(budget_ms=0), begins("a"), rules=NO_JITTER)
    outcome = history.when(fails("a", retryable=True, after_ms=2**64 - 1))
    assert outcome.run.events[-1].retry_at_us == LATEST_US
    assert next_ms(initial_backoff_ms=2**64 - 1, max_backoff_ms=2**64 - 1) == LATEST_US / 1000


@pytest.mark.parametrize(("budget_ends_ms", "expected"), [(0, 100), (100, 100), (99, None)])
def test_no_attempt_begins_after_the_budget(budget_ends_ms, expected):
    assert next_ms(initial_backoff_ms=100, jitter=0, budget_ends_ms=budget_ends_ms) == expected


def test_the_budget_counts_from_the_first_attempt():
    policy = {"budget_ms": 1000, "max_attempts": 100, "initial_backoff_ms": 400, "multiplier": 1, "jitter": 0}
    history = given(plan(**policy), waits(5000))
    history.when(begins("a")).then(checked("a"), attempt_started("a", deadline_ms=65_000, budget_ms=6000))
    history.when(fails("a", retryable=True)).then(attempt_failed("a", "TOOL_ERROR", retryable=True, retry_ms=5400))
    history.run.perform(waits(400))
    history.when(begins("a")).then(
        checked("a", attempt=2), attempt_started("a", attempt=2, fence=2, deadline_ms=65_400)
    )
    history.run.perform(waits(201))
    history.when(fails("a", retryable=True)).then(
        attempt_failed("a", "TOOL_ERROR", attempt=2, retryable=True),
        failed("a", "TOOL_ERROR", retryable=True),
        workflow_failed("a", "TOOL_ERROR", retryable=True),
    )


@pytest.mark.parametrize("most", [1, 2, 5])
def test_there_are_never_more_attempts_than_the_policy_says(most):
    run = given(plan(max_attempts=most, retry_on=[ANYTHING]), rules=NO_JITTER).run
    while run.state.running:
        run.perform(breaks("a", reason="EXECUTOR_LOST", retryable=True))
        run.perform(waits(1000))
    assert run.step("a").attempts == most


def repeated(reason="TOOL_ERROR", *, retryable=True, repeatable=False, **policy):
    definition = pb.StepDefinition(repeatable=repeatable, retry=pb.RetryPolicy(**policy))
    return is_repeated(definition, value_pb2.Failure(reason=reason, retryable=retryable))


@pytest.mark.parametrize("reason", ["EXECUTOR_LOST", "UNAVAILABLE"])
@pytest.mark.parametrize("repeatable", [True, False])
def test_what_the_platform_caused_is_repeated_for_every_tool(reason, repeatable):
    assert repeated(reason, repeatable=repeatable)
    assert repeated(reason, repeatable=repeatable, retry_on=["TOOL_ERROR"])


@pytest.mark.parametrize("reason", ["TOOL_ERROR", "TIMEOUT", "HEARTBEAT_TIMEOUT"])
def test_other_failures_are_repeated_where_repeating_does_no_harm(reason):
    assert repeated(reason, repeatable=True)
    assert not repeated(reason, repeatable=False)


@pytest.mark.parametrize(("tool", "expected"), [("work", 1), ("look", 3), ("put", 3)])
def test_the_tool_says_whether_repeating_does_harm(tool, expected):
    run = given(plan(tool), rules=NO_JITTER).run
    while run.state.running:
        run.perform(breaks("a", retryable=True))
        run.perform(waits(1000))
    assert run.step("a").attempts == expected


def test_a_step_that_asks_for_attempts_gets_them_whatever_the_tool():
    assert repeated(repeatable=False, max_attempts=2)
    assert not repeated(repeatable=False, max_attempts=1)


def test_only_the_named_reasons_are_repeated_where_some_are_named():
    assert repeated("RATE_LIMITED", repeatable=False, retry_on=["RATE_LIMITED"])
    assert not repeated("TOOL_ERROR", repeatable=True, retry_on=["RATE_LIMITED"])
    assert repeated("TOOL_ERROR", repeatable=False, retry_on=["RATE_LIMITED", ANYTHING])


@pytest.mark.parametrize("reason", ["TOOL_ERROR", "EXECUTOR_LOST"])
def test_never_wins_over_everything(reason):
    assert not repeated(reason, repeatable=True, retry_on=[ANYTHING, reason], never_retry_on=[reason])


def test_what_has_no_reason_is_not_repeated_where_something_never_is():
    assert repeated("INVALID_REASON", repeatable=True)
    assert repeated("INVALID_REASON", repeatable=False, retry_on=[ANYTHING])
    assert not repeated("INVALID_REASON", repeatable=True, retry_on=[ANYTHING], never_retry_on=["gone away"])


def test_a_failure_that_says_it_is_final_is_final():
    assert not repeated("EXECUTOR_LOST", retryable=False, repeatable=True, retry_on=[ANYTHING])


@pytest.mark.parametrize("is_old", [True, False])
def test_what_was_recorded_with_a_reason_that_is_refused_now_still_runs(is_old):
    """With a negative control: the same record with the reason's right spelling repeats."""
    recorded = given(plan(retry_on=["TOOL_ERROR"]), rules=NO_JITTER).run.events
    if is_old:
        [added] = [event for event in recorded if isinstance(event, events_pb2.StepsAdded)]
        added.steps[0].retry.retry_on[:] = ["tool_error"]
    history = given(*recorded, begins("a"), rules=NO_JITTER)
    ending = [failed("a", "TOOL_ERROR", retryable=True), workflow_failed("a", "TOOL_ERROR", retryable=True)]
    again = attempt_failed("a", "TOOL_ERROR", retryable=True, retry_ms=None if is_old else 100)
    history.when(fails("a", retryable=True)).then(again, *(ending if is_old else []))
