"""An attempt that admission does not let be made counts as one that failed, without having run."""

import pytest

from podium.v1 import definition_pb2 as pb
from service.domain.decide import Rules
from service.domain.retry import RetryDefaults
from tests.unit.domain.scenario import (
    WORKFLOW_CANCELED,
    WORKFLOW_SUCCEEDED,
    attempt_failed,
    attempt_started,
    checked,
    collected,
    degraded,
    failed,
    given,
    rejected,
    succeeded,
    tried,
    unjoined,
    workflow_failed,
)
from tests.unit.domain.workflow_run import (
    begins,
    breaks,
    cancels,
    declared,
    fails,
    other,
    queues,
    rejects,
    runs,
    starts,
    step,
    waits,
)

NO_JITTER = Rules(retry=RetryDefaults(max_attempts=3, initial_backoff_ms=100, max_backoff_ms=1000, jitter=0))


def plan(tool="work", fallback=(), **policy):
    return starts(step("a", tool=tool, retry=pb.RetryPolicy(**policy), fallback=fallback))


def test_an_open_breaker_lets_the_next_attempt_wait_whatever_the_tool_does():
    history = given(plan(), rules=NO_JITTER)
    history.when(rejects("a")).then(rejected("a", retry_ms=100)).admitting()
    history.when(waits(100)).then()
    history.when(begins("a")).then(
        checked("a", attempt=2), attempt_started("a", attempt=2, fence=1, deadline_ms=60_100)
    )


def test_the_next_attempt_waits_as_long_as_the_rejection_says():
    given(plan(), rules=NO_JITTER).when(rejects("a", after_ms=700)).then(
        rejected("a", retry_ms=700, retry_after_ms=700)
    )


def test_rejections_count_towards_the_bound_on_attempts():
    history = given(plan(max_attempts=2), rejects("a"), waits(100), rules=NO_JITTER)
    history.when(rejects("a")).then(
        rejected("a", attempt=2),
        failed("a", "BREAKER_OPEN", retryable=True),
        workflow_failed("a", "BREAKER_OPEN", retryable=True),
    )


def test_failures_and_rejections_count_together():
    history = given(plan("look", max_attempts=2), breaks("a", retryable=True), waits(100), rules=NO_JITTER)
    outcome = history.when(rejects("a"))
    assert outcome.run.events[-3] == rejected("a", attempt=2)
    outcome.then(rejected("a", attempt=2), *outcome.run.events[-2:])


@pytest.mark.parametrize(
    "policy", [{"never_retry_on": ["BREAKER_OPEN"]}, {"never_retry_on": ["BREAKER_OPEN"], "retry_on": ["*"]}]
)
def test_a_reason_that_is_never_repeated_ends_the_step(policy):
    given(plan(**policy), rules=NO_JITTER).when(rejects("a")).then(
        rejected("a"), failed("a", "BREAKER_OPEN", retryable=True), workflow_failed("a", "BREAKER_OPEN", retryable=True)
    )


def test_what_the_platform_caused_is_repeated_though_the_policy_names_other_reasons():
    given(plan(retry_on=["BUSY"]), rules=NO_JITTER).when(rejects("a", "OVERLOADED")).then(
        rejected("a", "OVERLOADED", retry_ms=100)
    )


def test_a_reason_of_another_kind_is_repeated_only_where_the_policy_names_it():
    outcome = given(plan(retry_on=["BUSY"]), rules=NO_JITTER).when(rejects("a", "ODD"))
    assert outcome.run.events[-2] == failed("a", "ODD", retryable=True)
    given(plan(retry_on=["ODD"]), rules=NO_JITTER).when(rejects("a", "ODD")).then(rejected("a", "ODD", retry_ms=100))


def test_the_budget_begins_with_the_first_attempt_though_that_is_rejected():
    history = given(plan(budget_ms=250), rules=NO_JITTER)
    history.when(rejects("a")).then(rejected("a", retry_ms=100, budget_ms=250))
    history.when(waits(100)).then()
    # The next may start after 300 ms, which is beyond the budget; it is not begun anew.
    history.when(rejects("a")).then(
        rejected("a", attempt=2),
        failed("a", "BREAKER_OPEN", retryable=True),
        workflow_failed("a", "BREAKER_OPEN", retryable=True),
    )


def test_a_first_rejection_beyond_the_budget_is_the_last():
    outcome = given(plan(budget_ms=50), rules=NO_JITTER).when(rejects("a"))
    assert outcome.run.events[-3] == rejected("a", budget_ms=50)


def test_an_attempt_after_a_rejection_is_bound_by_the_budget_that_runs():
    history = given(plan("look", budget_ms=250), rejects("a"), waits(100), begins("a"), rules=NO_JITTER)
    history.when(fails("a", retryable=True)).then(
        attempt_failed("a", "TOOL_ERROR", attempt=2, retryable=True),
        failed("a", "TOOL_ERROR", retryable=True),
        workflow_failed("a", "TOOL_ERROR", retryable=True),
    )


def test_rejections_count_anew_for_a_link():
    link = other("look", "BREAKER_OPEN", retry=pb.RetryPolicy(max_attempts=2))
    history = given(plan(max_attempts=1, fallback=[link, declared(0, "EXHAUSTED")]), rules=NO_JITTER)
    history.when(rejects("a")).then(rejected("a"), tried("a", 1, "BREAKER_OPEN", tool="look", retryable=True))
    history.when(rejects("a")).then(rejected("a", attempt=2, retry_ms=100))
    history.when(waits(100)).then()
    outcome = history.when(rejects("a"))
    assert outcome.run.events[-3:-1] == [
        tried("a", 2, "BREAKER_OPEN", retryable=True),
        degraded("a", 2, "0"),
    ]


@pytest.mark.parametrize("reason", ["BREAKER_OPEN", "OVERLOADED"])
@pytest.mark.parametrize("on", [(), ("*",), ("TIMEOUT", "BREAKER_OPEN", "OVERLOADED")], ids=["all", "any", "named"])
def test_a_link_for_a_rejection_acts_at_once_though_there_are_retries_left(reason, on):
    given(plan(fallback=[declared(1, *on)])).when(rejects("a", reason, after_ms=59_000)).then(
        rejected("a", reason, retry_after_ms=59_000),
        tried("a", 1, reason, retryable=True, retry_after_ms=59_000),
        degraded("a", 1, "1"),
        WORKFLOW_SUCCEEDED,
    )


@pytest.mark.parametrize("reason", ["BREAKER_OPEN", "OVERLOADED"])
@pytest.mark.parametrize("on", ["EXHAUSTED", "DENIED", "TIMEOUT"])
def test_a_link_for_other_failures_lets_a_rejection_be_repeated(reason, on):
    history = given(plan(fallback=[declared(1, on)]), rules=NO_JITTER)
    history.when(rejects("a", reason)).then(rejected("a", reason, retry_ms=100))


def test_a_breaker_that_opens_between_two_attempts_is_fallen_back_from_at_once():
    link = declared(1, "BREAKER_OPEN")
    history = given(plan("look", fallback=[link]), breaks("a", retryable=True), waits(100), rules=NO_JITTER)
    history.when(rejects("a")).then(
        rejected("a", attempt=2),
        tried("a", 1, "BREAKER_OPEN", retryable=True),
        degraded("a", 1, "1"),
        WORKFLOW_SUCCEEDED,
    )


def test_a_link_that_was_passed_over_is_not_gone_back_to_by_a_rejection():
    links = [declared(0, "BREAKER_OPEN"), other("look", "TOOL_ERROR")]
    history = given(plan(fallback=links), begins("a"), fails("a"), rules=NO_JITTER)
    history.when(rejects("a")).then(rejected("a", attempt=2, retry_ms=100))


def test_a_rejected_step_that_is_canceled_ends_with_its_workflow():
    history = given(plan(), rejects("a"), cancels(), rules=NO_JITTER)
    assert history.run.events[-1] == WORKFLOW_CANCELED
    history.when(rejects("a")).then()


def test_a_queued_step_that_is_rejected_waits_for_its_time_and_not_in_the_queue():
    history = given(plan(), queues("a"), rules=NO_JITTER)
    history.when(rejects("a")).then(rejected("a", retry_ms=100)).queueing()
    history.when(waits(100)).then()
    history.when(waits(30_000)).then()


def test_items_are_rejected_each_for_itself():
    history = given(starts(step("a", each=[1, 2]), step("b", "a")), rules=NO_JITTER)
    history.when(rejects("a[0]")).then(rejected("a[0]", retry_ms=100)).admitting("a[1]")
    history.when(runs("a[1]")).then(checked("a[1]"), attempt_started("a[1]", deadline_ms=60_000), succeeded("a[1]"))
    history.when(waits(100)).then()
    outcome = history.when(runs("a[0]"))
    assert outcome.run.events[-2:] == [succeeded("a[0]", attempt=2), collected("a", 2)]


def test_what_needs_a_step_whose_last_attempt_was_rejected_is_skipped():
    history = given(starts(step("a", retry=pb.RetryPolicy(max_attempts=1)), step("b", "a")))
    history.when(rejects("a")).then(
        rejected("a"),
        failed("a", "BREAKER_OPEN", retryable=True),
        unjoined("b"),
        workflow_failed("a", "BREAKER_OPEN", retryable=True),
    )


@pytest.mark.parametrize("before", [begins("a"), runs("a")], ids=["running", "succeeded"])
def test_a_rejection_that_comes_too_late_changes_nothing(before):
    given(starts(step("a"), step("b")), before).when(rejects("a")).then()
