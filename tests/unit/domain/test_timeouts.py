"""Bounds on time: of an attempt, of the wait for an executor, of the whole workflow."""

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2
from service.domain.decide import Rules
from service.domain.evolve import evolve
from service.domain.retry import RetryDefaults
from service.domain.state import CANCELED, FAILED, LATEST_US, US_PER_MS
from tests.unit.domain.scenario import (
    WORKFLOW_SUCCEEDED,
    abandoned,
    at_ms,
    attempt_failed,
    failed,
    given,
    queued,
    succeeded,
    unjoined,
    workflow_failed,
)
from tests.unit.domain.workflow_run import (
    START_US,
    begins,
    breaks,
    cancels,
    completes,
    fails,
    queues,
    runs,
    starts,
    step,
    waits,
)

NO_JITTER = Rules(retry=RetryDefaults(initial_backoff_ms=100, jitter=0))
TIMEOUT = {"reason": "TIMEOUT", "retryable": True}
LATE = {"reason": "WORKFLOW_TIMEOUT", "retryable": True}


def out_of_time(step_id):
    """What is recorded of an attempt that still runs when the time of its workflow is over."""
    return abandoned(step_id), attempt_failed(step_id, **LATE), failed(step_id, **LATE)


def test_an_attempt_that_takes_too_long_is_given_up_and_may_still_run():
    history = given(starts(step("a")), begins("a", timeout_ms=500))
    history.when(waits(499)).then()
    history.when(waits(1)).then(
        abandoned("a"), attempt_failed("a", **TIMEOUT), failed("a", **TIMEOUT), workflow_failed("a", **TIMEOUT)
    )


def test_an_attempt_that_takes_too_long_is_repeated_where_that_does_no_harm():
    history = given(starts(step("a", tool="look")), begins("a", timeout_ms=500), rules=NO_JITTER)
    history.when(waits(500)).then(abandoned("a"), attempt_failed("a", retry_ms=600, **TIMEOUT))
    history.run.perform(waits(100))
    history.when(runs("a")).admitting()
    assert history.run.events[-1] == WORKFLOW_SUCCEEDED


def test_the_timer_of_an_attempt_that_ended_does_nothing():
    history = given(starts(step("a", tool="look"), step("b")), begins("a", timeout_ms=500), rules=NO_JITTER)
    history.run.perform(fails("a", retryable=True))
    history.run.perform(waits(100))
    history.run.perform(begins("a", timeout_ms=10_000))
    history.when(waits(400)).then()
    history.run.perform(completes("a"))
    history.when(waits(60_000)).then()


def test_several_attempts_time_out_at_once():
    plan = starts(step("a"), step("b"), step("c"))
    history = given(plan, begins("a", "b", timeout_ms=500), begins("c", timeout_ms=501))
    history.when(waits(500)).then(
        abandoned("a"),
        attempt_failed("a", **TIMEOUT),
        failed("a", **TIMEOUT),
        abandoned("b"),
        attempt_failed("b", **TIMEOUT),
        failed("b", **TIMEOUT),
    )


def test_a_step_that_no_executor_takes_in_time_fails():
    history = given(starts(step("a")))
    history.when(queues("a", wait_ms=700)).then(queued("a", 700)).queueing("a")
    history.when(waits(699)).then()
    late = {"reason": "SCHEDULE_TO_START_TIMEOUT", "retryable": True}
    history.when(waits(1)).then(failed("a", **late), workflow_failed("a", **late)).queueing()


def test_a_step_that_was_taken_does_not_fail_for_its_wait():
    history = given(starts(step("a")), queues("a", wait_ms=700), begins("a"))
    history.when(waits(700)).then()


def test_a_queued_step_is_not_queued_again():
    history = given(starts(step("a")), queues("a", wait_ms=700))
    history.when(queues("a", wait_ms=9000)).then().queueing("a")


def test_a_workflow_that_takes_too_long_fails_and_abandons_what_runs():
    plan = starts(step("a"), step("b"), step("c"), step("d", "a"), timeout_ms=1000)
    history = given(plan, begins("a"), queues("b"))
    outcome = history.when(waits(1000))
    outcome.then(*out_of_time("a"), workflow_failed("", **LATE)).admitting().queueing()
    run = history.run
    assert not run.state.running
    assert run.state.failure.reason == "WORKFLOW_TIMEOUT"
    # What ran had its time and has failed; what only waited is canceled.
    assert {s.id: s.state for s in run.state.steps.values()} == {"a": FAILED, **dict.fromkeys("bcd", CANCELED)}
    assert (run.state.unfinished, run.state.running_slots) == (0, 0)
    history.when(completes("a")).then_refused()


def test_a_workflow_in_time_does_not_fail():
    plan = starts(step("a"), timeout_ms=1000)
    assert given(plan, waits(999), runs("a"), waits(1)).run.events[-1] == WORKFLOW_SUCCEEDED


def test_an_open_workflow_times_out_with_nothing_in_it():
    history = given(starts(open=True, timeout_ms=1000))
    history.when(waits(1000)).then(workflow_failed("", "WORKFLOW_TIMEOUT", retryable=True))
    assert not history.run.state.open


def test_items_are_given_up_with_their_workflow():
    history = given(starts(step("a", each=[1, 2, 3], at_once=2), timeout_ms=1000), begins("a[1]"))
    history.when(waits(1000)).then(*out_of_time("a[1]"), workflow_failed("", **LATE))
    assert (history.run.state.unfinished, history.run.step("a").items_running) == (0, 0)
    states = {s.id: s.state for s in history.run.state.steps.values()}
    assert states == {"a": CANCELED, "a[0]": CANCELED, "a[1]": FAILED, "a[2]": CANCELED}


def test_what_runs_when_its_workflow_is_out_of_time_is_neither_repeated_nor_fallen_back_from():
    chain = [pb.Fallback(on=["*"], value_json="0")]
    plan = starts(step("a", retry=pb.RetryPolicy(max_attempts=9), fallback=chain), timeout_ms=1000)
    given(plan, begins("a")).when(waits(1000)).then(*out_of_time("a"), workflow_failed("", **LATE))


def test_of_several_that_run_each_has_failed_and_whoever_waits_for_their_places_is_not_started():
    plan = starts(*(step(name) for name in "abc"), timeout_ms=1000, max_parallel=2)
    history = given(plan, begins("a", "b"))
    history.when(waits(1000)).then(*out_of_time("a"), *out_of_time("b"), workflow_failed("", **LATE)).admitting()
    assert history.run.step("c").state == CANCELED


def test_a_log_from_before_that_was_told_folds_as_it_did():
    history = given(starts(step("a"), timeout_ms=1000), begins("a"))
    run = history.run
    for event in (abandoned("a"), workflow_failed("", **LATE)):
        evolve(run.state, event)
    assert (run.state.running, run.step("a").state, run.state.unfinished) == (False, CANCELED, 0)


def test_a_timeout_frees_the_place_for_the_next_step():
    plan = starts(step("a", on_failure=pb.ON_FAILURE_CONTINUE), step("b"), max_parallel=1)
    given(plan, begins("a", timeout_ms=500)).when(waits(500)).admitting("b")


def test_a_timeout_skips_what_needs_the_step():
    plan = starts(step("a", on_failure=pb.ON_FAILURE_CONTINUE), step("b", "a"))
    outcome = given(plan, begins("a", timeout_ms=500)).when(waits(500))
    outcome.then(
        abandoned("a"), attempt_failed("a", **TIMEOUT), failed("a", **TIMEOUT), unjoined("b"), WORKFLOW_SUCCEEDED
    )


def test_a_result_in_time_wins_over_a_clock_that_is_looked_at_later():
    history = given(starts(step("a")), begins("a", timeout_ms=500))
    history.run.now_us = at_ms(500)
    history.when(completes("a")).then(succeeded("a"), WORKFLOW_SUCCEEDED)


def test_bounds_of_centuries_are_recorded_as_for_ever():
    longest = 2**64 - 1
    run = given(
        starts(
            step("a", retry=pb.RetryPolicy(budget_ms=longest)),
            step("b"),
            timeout_ms=longest,
            cancel_grace_ms=longest,
        ),
        begins("a", timeout_ms=longest),
        queues("b", wait_ms=longest),
    ).run
    assert run.state.deadline_at_us == LATEST_US
    assert [run.step(name).deadline_at_us for name in "ab"] == [LATEST_US, LATEST_US]
    assert run.step("a").budget_ends_at_us == LATEST_US
    run.perform(cancels())
    assert run.state.grace_ends_at_us == LATEST_US
    assert run.state.wake_at_us() == LATEST_US


def test_the_next_time_to_look_is_the_earliest_that_matters():
    run = given(starts(step("a", tool="look"), step("b"), timeout_ms=100_000), rules=NO_JITTER).run
    assert run.state.wake_at_us() == at_ms(100_000)
    run.perform(queues("b", wait_ms=50_000))
    assert run.state.wake_at_us() == at_ms(50_000)
    run.perform(begins("a", timeout_ms=20_000))
    assert run.state.wake_at_us() == at_ms(20_000)
    run.perform(fails("a", retryable=True))
    assert run.state.wake_at_us() == at_ms(100)
    run.perform(waits(100))
    run.perform(runs("a"))
    assert run.state.wake_at_us() == at_ms(50_000)
    run.perform(runs("b"))
    assert run.state.wake_at_us() is None


def test_timers_that_are_due_come_in_the_order_of_their_times():
    run = given(starts(*(step(f"s{i}") for i in range(50)))).run
    for index in range(50):
        run.perform(begins(f"s{index}", timeout_ms=1 + (index * 37) % 50))
    run.perform(completes("s7"))
    due = [(timer[0] - START_US) // US_PER_MS for timer in run.state.due(at_ms(40))]
    assert due == [ms for ms in range(1, 41) if ms != 1 + 7 * 37 % 50]


def test_looking_at_the_timers_takes_none_away():
    run = given(starts(step("a")), begins("a", timeout_ms=500)).run
    assert run.state.due(at_ms(500)) == run.state.due(at_ms(500)) != []


def test_a_workflow_that_ended_has_no_time():
    history = given(starts(step("a"), timeout_ms=1000), breaks("a"))
    history.when(waits(10_000)).then()
    assert isinstance(history.run.events[-1], events_pb2.WorkflowFailed)
