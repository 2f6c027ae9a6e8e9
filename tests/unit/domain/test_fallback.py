"""Which link of its chain takes the place of a step's failure, and what is recorded of it."""

import pytest

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2
from service.domain.decide import Rules
from service.domain.retry import RetryDefaults
from tests.unit.domain.scenario import (
    WORKFLOW_CANCELED,
    WORKFLOW_SUCCEEDED,
    abandoned,
    attempt_failed,
    attempt_started,
    canceled,
    checked,
    collected,
    degraded,
    denied,
    failed,
    given,
    queued,
    succeeded,
    tried,
    unjoined,
    workflow_failed,
)
from tests.unit.domain.workflow_run import (
    answers,
    begins,
    both,
    breaks,
    cancels,
    completes,
    declared,
    denies,
    fails,
    misses,
    old,
    other,
    queues,
    rejects,
    runs,
    starts,
    step,
    waits,
)

NO_JITTER = Rules(retry=RetryDefaults(max_attempts=3, initial_backoff_ms=100, max_backoff_ms=1000, jitter=0))
REFUSED = checked("a", decision=events_pb2.DECISION_DENY)


def chain(*links, tool="work", **fields):
    return starts(step("a", tool=tool, fallback=links, **fields))


QUIET = {"reason": "BREAKER_OPEN", "retryable": False}
NOT_MADE = events_pb2.AttemptRejected(step_id="a", attempt=1, guard="breaker", failure={"reason": "BREAKER_OPEN"})

FAILURES = {
    "a failed attempt": ([begins("a")], fails("a"), [attempt_failed("a", "TOOL_ERROR")], {"reason": "TOOL_ERROR"}),
    "a timeout": (
        [begins("a", timeout_ms=40)],
        waits(40),
        [abandoned("a"), attempt_failed("a", "TIMEOUT", retryable=True)],
        {"reason": "TIMEOUT", "retryable": True},
    ),
    "no executor in time": (
        [queues("a")],
        waits(30_000),
        [],
        {"reason": "SCHEDULE_TO_START_TIMEOUT", "retryable": True},
    ),
    "a reference that leads nowhere": ([], misses("a"), [], {"reason": "REFERENCE_ERROR"}),
    "a secret that is withheld": ([], misses("a", "SECRET_MISSING"), [], {"reason": "SECRET_MISSING"}),
    "a rejected attempt": ([], rejects("a", **QUIET), [NOT_MADE], {"reason": "BREAKER_OPEN"}),
    "a refusal": ([], denies("a"), [REFUSED], {"reason": "PERMISSION_DENIED", "guard": "permission"}),
}
"""What came before, what goes wrong, what is recorded of it, and the failure that a link takes the place of."""
LINKS = {
    "another tool": (other("look", "*"), {"tool": "look"}, []),
    "an old result": (old("*"), {}, []),
    "a declared value": (declared([1], "*"), {}, [degraded("a", 1, "[1]"), WORKFLOW_SUCCEEDED]),
}
"""The link, what is told of it when it is tried, and what follows by itself."""


@pytest.mark.parametrize(("link", "told", "then"), LINKS.values(), ids=LINKS)
@pytest.mark.parametrize(("before", "wrong", "facts", "failure"), FAILURES.values(), ids=FAILURES)
def test_a_link_takes_the_place_of_a_failure(before, wrong, facts, failure, link, told, then):
    outcome = given(chain(link), *before).when(wrong)
    outcome.then(*facts, tried("a", 1, **failure, **told), *then)
    outcome.admitting(*([] if then else ["a"]))


@pytest.mark.parametrize(("before", "wrong", "facts", "failure"), FAILURES.values(), ids=FAILURES)
def test_without_a_link_that_names_it_a_failure_ends_the_step_as_it_would_without_a_chain(
    before, wrong, facts, failure
):
    named = given(chain(other("look", "ANOTHER")), *before).when(wrong).run.events[1:]
    assert named[-len(facts) - 2 :] == given(starts(step("a")), *before).when(wrong).run.events[-len(facts) - 2 :]
    assert isinstance(named[-2], events_pb2.StepDenied if "guard" in failure else events_pb2.StepFailed)


def test_a_link_without_names_is_for_every_failure():
    given(chain(declared(1))).when(misses("a")).then(
        tried("a", 1, "REFERENCE_ERROR"), degraded("a", 1, "1"), WORKFLOW_SUCCEEDED
    )


def test_a_link_without_names_is_for_no_refusal():
    given(chain(declared(1))).when(denies("a")).then(REFUSED, denied("a"), workflow_failed("a", "PERMISSION_DENIED"))


@pytest.mark.parametrize("name", ["DENIED", "PERMISSION_DENIED", "*"])
def test_a_refusal_is_named_as_such_or_by_its_reason(name):
    given(chain(declared(1, name))).when(denies("a")).then(
        REFUSED, tried("a", 1, "PERMISSION_DENIED", guard="permission"), degraded("a", 1, "1"), WORKFLOW_SUCCEEDED
    )


def test_a_failure_that_was_repeated_as_often_as_allowed_is_exhausted():
    policy = pb.RetryPolicy(max_attempts=2)
    history = given(
        chain(declared(1, "EXHAUSTED"), tool="look", retry=policy),
        breaks("a", retryable=True),
        waits(100),
        begins("a"),
        rules=NO_JITTER,
    )
    history.when(fails("a", retryable=True)).then(
        attempt_failed("a", "TOOL_ERROR", attempt=2, retryable=True),
        tried("a", 1, "TOOL_ERROR", retryable=True),
        degraded("a", 1, "1"),
        WORKFLOW_SUCCEEDED,
    )


@pytest.mark.parametrize("wrong", [both(begins("a"), fails("a")), misses("a")], ids=["not retryable", "no attempt"])
def test_a_failure_that_is_never_repeated_is_not_exhausted(wrong):
    outcome = given(chain(declared(1, "EXHAUSTED"), tool="look")).when(wrong)
    assert isinstance(outcome.run.events[-2], events_pb2.StepFailed)


def test_a_link_that_does_not_name_the_failure_is_passed_over():
    links = [other("look", "TIMEOUT"), old("BREAKER_OPEN"), declared(3, "TOOL_ERROR"), declared(4)]
    given(chain(*links), begins("a")).when(fails("a")).then(
        attempt_failed("a", "TOOL_ERROR"), tried("a", 3, "TOOL_ERROR"), degraded("a", 3, "3"), WORKFLOW_SUCCEEDED
    )


def test_each_link_is_tried_on_the_failure_before_it_and_the_last_failure_is_the_steps():
    links = [other("look", "TOOL_ERROR", retry=pb.RetryPolicy(max_attempts=1)), old("BROKE"), declared(3, "NEVER")]
    history = given(chain(*links), breaks("a"), begins("a"))
    history.when(fails("a", "BROKE")).then(attempt_failed("a", "BROKE", attempt=2), tried("a", 2, "BROKE"))
    history.when(misses("a", "STALE_MISS")).then(failed("a", "STALE_MISS"), workflow_failed("a", "STALE_MISS"))


def test_attempts_and_fences_of_a_link_go_on_from_those_before():
    history = given(chain(other("look")), breaks("a"))
    history.when(runs("a", 7)).then(
        checked("a", attempt=2),
        attempt_started("a", attempt=2, fence=2, deadline_ms=60_000),
        degraded("a", 1, "7", attempt=2),
        WORKFLOW_SUCCEEDED,
    )


def test_a_link_has_a_retry_policy_and_a_budget_of_attempts_of_its_own():
    policy = pb.RetryPolicy(max_attempts=2, budget_ms=5000)
    link = other("look", retry=pb.RetryPolicy(max_attempts=2, initial_backoff_ms=300, jitter=0, budget_ms=700))
    history = given(
        chain(link, retry=policy), breaks("a", retryable=True), waits(100), breaks("a", retryable=True), rules=NO_JITTER
    )
    history.when(begins("a")).then(
        checked("a", attempt=3), attempt_started("a", attempt=3, fence=3, deadline_ms=60_100, budget_ms=800)
    )
    history.when(fails("a", retryable=True)).then(
        attempt_failed("a", "TOOL_ERROR", attempt=3, retryable=True, retry_ms=400)
    )
    history.when(waits(300)).then()
    history.when(breaks("a", retryable=True)).then(
        checked("a", attempt=4),
        attempt_started("a", attempt=4, fence=4, deadline_ms=60_400),
        attempt_failed("a", "TOOL_ERROR", attempt=4, retryable=True),
        failed("a", "TOOL_ERROR", retryable=True),
        workflow_failed("a", "TOOL_ERROR", retryable=True),
    )


def test_the_links_tool_says_whether_its_failures_may_be_repeated():
    # `work` may do harm twice, `look` does not; neither step nor link has a policy.
    history = given(chain(other("look")), breaks("a", retryable=True), begins("a"), rules=NO_JITTER)
    history.when(fails("a", retryable=True)).then(
        attempt_failed("a", "TOOL_ERROR", attempt=2, retryable=True, retry_ms=100)
    )


def test_a_link_without_arguments_has_the_steps_own():
    plan = chain(other("look"), other("put", arguments={"y": "${input.b}"}), arguments={"x": "${input.a}"})

    def with_input(run):
        for command in plan(run):
            yield command._replace(input=events_pb2.WorkflowStarted(input={"json": '{"a":1,"b":2}'}).input)

    history = given(with_input, begins("a"))
    history.when(fails("a")).with_arguments("a", {"x": 1})
    given(with_input, breaks("a"), begins("a")).when(fails("a")).with_arguments("a", {"y": 2})


def test_an_answer_that_a_link_has_without_an_attempt_is_the_links():
    given(chain(old()), breaks("a")).when(answers("a", 5)).then(
        checked("a", attempt=2), degraded("a", 1, "5"), WORKFLOW_SUCCEEDED
    )


def test_a_link_is_refused_on_its_own_and_the_next_may_name_that():
    given(chain(other("look"), declared(2, "DENIED")), breaks("a")).when(denies("a")).then(
        checked("a", attempt=2, decision=events_pb2.DECISION_DENY),
        tried("a", 2, "PERMISSION_DENIED", guard="permission"),
        degraded("a", 2, "2"),
        WORKFLOW_SUCCEEDED,
    )


def test_a_link_that_waits_for_an_executor_has_the_whole_time_for_it():
    history = given(chain(other("look"), declared(2)), queues("a"), waits(20_000), denies_by_name("a"))
    history.when(queues("a")).then(queued("a", 50_000))
    # When the time of the tool before it would be over, nothing happens.
    history.when(waits(10_000)).then().queueing("a")
    history.when(waits(20_000)).then(
        tried("a", 2, "SCHEDULE_TO_START_TIMEOUT", retryable=True), degraded("a", 2, "2"), WORKFLOW_SUCCEEDED
    )


def denies_by_name(step_id):
    """Something that a link without names takes the place of, while the step waits in a queue."""
    return misses(step_id, "SECRET_MISSING")


def test_a_late_outcome_of_an_attempt_before_a_link_is_refused():
    history = given(chain(other("look")), begins("a", timeout_ms=40), waits(40), begins("a"))
    history.when(completes("a", 1, attempt=1, fence=1)).then_refused()
    history.when(completes("a", 2)).then(degraded("a", 1, "2", attempt=2), WORKFLOW_SUCCEEDED)


def test_a_workflow_that_is_being_canceled_takes_no_fallback():
    history = given(chain(declared(1, "*")), begins("a"), cancels())
    history.when(fails("a")).then(attempt_failed("a", "TOOL_ERROR"), canceled("a"), WORKFLOW_CANCELED)


def test_a_step_that_falls_back_is_canceled_as_any_other():
    outcome = given(chain(other("look")), breaks("a")).when(cancels())
    assert outcome.run.events[-1] == WORKFLOW_CANCELED


def test_items_of_a_list_fall_back_each_for_itself():
    plan = starts(step("a", each=[1, 2], fallback=[other("look", "TOOL_ERROR"), declared(0)]))
    history = given(plan, breaks("a[0]"), runs("a[1]", 9), begins("a[0]"))
    history.when(fails("a[0]", "BROKE")).then(
        attempt_failed("a[0]", "BROKE", attempt=2),
        tried("a[0]", 2, "BROKE"),
        degraded("a[0]", 2, "0"),
        collected("a", 2),
        WORKFLOW_SUCCEEDED,
    )
    assert [item.link for item in history.run.step("a").items] == [2, 0]


def test_a_condition_that_cannot_be_evaluated_is_not_fallen_back_from():
    # Whether the step should run is not known, so nothing takes its place.
    plan = starts(step("a", fallback=[declared(1, "*")], condition="input.x > 1"))
    outcome = given().when(plan)
    assert outcome.run.events[-2].failure.reason == "CONDITION_ERROR"


def test_what_needs_a_degraded_step_runs_with_its_output():
    plan = starts(step("a", fallback=[declared({"x": 4})]), step("b", arguments={"y": "${steps.a.output.x}"}))
    given(plan, begins("a")).when(fails("a")).then(
        attempt_failed("a", "TOOL_ERROR"), tried("a", 1, "TOOL_ERROR"), degraded("a", 1, '{"x":4}')
    ).admitting("b").with_arguments("b", {"y": 4})


def test_a_step_without_a_link_left_lets_those_run_that_only_wait_for_its_end():
    plan = starts(
        step("a", fallback=[other("look", "TIMEOUT")], on_failure=pb.ON_FAILURE_CONTINUE),
        step("b", "a", join=pb.JOIN_DONE),
        step("c", "a"),
    )
    history = given(plan, begins("a"))
    history.when(fails("a")).then(
        attempt_failed("a", "TOOL_ERROR"), failed("a", "TOOL_ERROR"), unjoined("c")
    ).admitting("b")
    history.when(runs("b")).then(
        checked("b"), attempt_started("b", fence=2, deadline_ms=60_000), succeeded("b"), WORKFLOW_SUCCEEDED
    )
