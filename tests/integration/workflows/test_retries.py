"""Failed attempts are repeated as the policy says, and every attempt is recorded."""

import pytest

from podium.v1 import definition_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import check_allowed_before_started, of_step, payloads
from tests.integration.rig.raw_executor import raw_executor, tool

SUCCEEDED, FAILED = value_pb2.WORKFLOW_STATE_SUCCEEDED, value_pb2.WORKFLOW_STATE_FAILED


def quickly(**policy):
    return definition_pb2.RetryPolicy(initial_backoff_ms=1, **policy)


async def test_every_attempt_is_recorded_with_its_failure_and_one_idempotency_key(caller, tools):
    workflow_id = await caller.start(step("flaky", {"failures": 2, "reason": "BUSY"}, retry=quickly()))
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    events = await caller.history(workflow_id)
    check_allowed_before_started(events)
    attempt = ["permission_checked", "attempt_started"]
    assert of_step(events, "step_1") == [
        *[*attempt, "attempt_failed"],
        *[*attempt, "attempt_failed"],
        *[*attempt, "step_succeeded"],
    ]
    started = payloads(events, "attempt_started")
    assert [each.attempt for each in started] == [1, 2, 3]
    assert [each.fence for each in started] == [1, 2, 3]
    for number, failed in enumerate(payloads(events, "attempt_failed"), 1):
        assert (failed.failure.reason, failed.failure.message) == ("BUSY", f"failure {number}")
        assert failed.retry_at_us > 0
    assert {key for _, _, _, key in tools.calls} == {f"{workflow_id}/step_1"}
    found = (await caller.steps(workflow_id))["step_1"]
    assert (found.output_json, found.attempts) == ("3", 3)


async def test_attempts_wait_longer_and_longer_as_far_as_the_policy_says(caller, tools):
    policy = definition_pb2.RetryPolicy(
        max_attempts=4, initial_backoff_ms=10, multiplier=3, max_backoff_ms=50, jitter=0.0
    )
    workflow_id = await caller.start(step("flaky", {"failures": 3}, retry=policy))
    await caller.ended(workflow_id)
    events = await caller.history(workflow_id)
    recorded = [event for event in events if event.HasField("attempt_failed")]
    waits = [event.attempt_failed.retry_at_us - event.recorded_at_us for event in recorded]
    # A decision is a little older than its record.
    for wait_us, told_ms in zip(waits, (10, 30, 50), strict=True):
        assert told_ms * 1000 - 9_000 < wait_us <= told_ms * 1000
    starts = [event.recorded_at_us for event in events if event.HasField("attempt_started")][1:]
    assert all(start >= event.attempt_failed.retry_at_us for start, event in zip(starts, recorded, strict=True))


async def test_the_last_failure_is_the_steps(caller, tools):
    workflow_id = await caller.start(step("flaky", {"failures": 9}, retry=quickly(max_attempts=2)))
    assert (await caller.ended(workflow_id)).state == FAILED
    events = await caller.history(workflow_id)
    assert [each.retry_at_us > 0 for each in payloads(events, "attempt_failed")] == [True, False]
    assert (await caller.steps(workflow_id))["step_1"].failure.message == "failure 2"


NOT_REPEATED = {
    "that is not retryable": ({"failures": 9, "retryable": False}, quickly()),
    "whose reason is never repeated": ({"failures": 9, "reason": "BROKE"}, quickly(never_retry_on=["BROKE"])),
    "that wins over what is repeated": (
        {"failures": 9, "reason": "BROKE"},
        quickly(retry_on=["*"], never_retry_on=["BROKE"]),
    ),
    "whose reason is not among those repeated": ({"failures": 9, "reason": "BROKE"}, quickly(retry_on=["BUSY"])),
    "of the only attempt": ({"failures": 9}, quickly(max_attempts=1)),
    "beyond the budget": ({"failures": 9}, definition_pb2.RetryPolicy(initial_backoff_ms=60_000, budget_ms=1000)),
}


@pytest.mark.parametrize(("arguments", "policy"), NOT_REPEATED.values(), ids=NOT_REPEATED)
async def test_a_failure_is_not_repeated(caller, tools, arguments, policy):
    workflow_id = await caller.start(step("flaky", arguments, retry=policy))
    assert (await caller.ended(workflow_id)).state == FAILED
    assert len(tools.calls) == 1


async def test_a_reason_that_is_to_be_repeated_is(caller, tools):
    policy = quickly(retry_on=["BUSY"])
    workflow_id = await caller.start(step("flaky", {"failures": 1, "reason": "BUSY"}, retry=policy))
    assert (await caller.ended(workflow_id)).state == SUCCEEDED


async def test_a_tool_that_may_do_harm_twice_is_called_once_unless_its_step_says_otherwise(caller, tools):
    first = await caller.start(step("careless"))
    assert (await caller.ended(first)).state == FAILED
    assert len(tools.calls) == 1
    second = await caller.start(step("careless", retry=quickly(max_attempts=2)))
    assert (await caller.ended(second)).state == FAILED
    assert len(tools.calls) == 3


async def test_a_tool_may_ask_for_a_longer_wait(caller):
    async with raw_executor(caller, tool("slow", read_only=True)) as executor:
        workflow_id = await caller.start(step("slow", retry=quickly()))
        first = await executor.work()
        await executor.fail(first.attempt, "BUSY", retryable=True, retry_after_ms=150)
        await executor.expect("outcome_acknowledged")
        second = await executor.work()
        assert (second.attempt.attempt, second.idempotency_key) == (2, first.idempotency_key)
        await executor.succeed(second.attempt)
        await executor.expect("outcome_acknowledged")
    events = await caller.history(workflow_id)
    failed, started = (
        next(event for event in events if event.HasField("attempt_failed")),
        [event for event in events if event.HasField("attempt_started")][1],
    )
    assert started.recorded_at_us - failed.recorded_at_us >= 140_000


async def test_a_retry_that_waits_is_shown_with_its_failure(caller, tools):
    policy = definition_pb2.RetryPolicy(initial_backoff_ms=60_000)
    workflow_id = await caller.start(step("flaky", {"failures": 1}, retry=policy))
    async for message in caller.watch(workflow_id):
        if any(item.event.HasField("attempt_failed") for item in message.items):
            break
    found = (await caller.steps(workflow_id))["step_1"]
    assert (found.state, found.failure.message) == (value_pb2.STEP_STATE_BACKING_OFF, "failure 1")
    await caller.cancel(workflow_id)
    assert (await caller.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_CANCELED
