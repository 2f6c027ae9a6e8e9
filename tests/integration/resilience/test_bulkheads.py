"""Bulkheads of a real service: what runs at once, what waits beside it, and what is refused."""

import asyncio
import contextlib

import pytest

from podium.v1 import definition_pb2, executor_service_pb2, policy_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.policies import apply, policy
from tests.integration.rig.raw_executor import raw_executor, tool

pytestmark = pytest.mark.both_databases

WORK = tool("work", read_only=True)
NO_RETRY = definition_pb2.RetryPolicy(max_attempts=1)


def bulkhead(name="narrow", **fields):
    return policy_pb2.Bulkhead(id=name, **fields)


def running_at_once(events):
    """The most attempts that ran at once, by the log alone."""
    running, most = set(), 0
    for event in events:
        kind = event.WhichOneof("payload")
        if kind == "attempt_started":
            running.add((event.stream_id, event.attempt_started.step_id))
            most = max(most, len(running))
        elif kind in ("attempt_failed", "attempt_abandoned", "step_succeeded"):
            running.discard((event.stream_id, getattr(event, kind).step_id))
    return most


@contextlib.asynccontextmanager
async def answering(executor):
    """Every assignment succeeds, one after another."""

    async def answer():
        while True:
            await executor.succeed((await executor.work()).attempt)

    async with asyncio.TaskGroup() as group:
        answers = group.create_task(answer())
        yield
        answers.cancel()


async def test_of_five_hundred_calls_as_many_run_at_once_as_the_bulkhead_lets(caller):
    await apply(caller, policy(bulkheads=[bulkhead(max_concurrent=7)]))
    async with raw_executor(caller, WORK, max_attempts=600) as executor, answering(executor):
        answers = await asyncio.gather(*(caller.call("work") for _ in range(500)))
    assert {answer.outcome.state for answer in answers} == {value_pb2.STEP_STATE_SUCCEEDED}
    assert running_at_once(await caller.log()) == 7


async def test_without_a_bulkhead_more_of_them_run_at_once(caller):
    async with raw_executor(caller, WORK, max_attempts=600) as executor, asyncio.TaskGroup() as group:
        calls = [group.create_task(caller.call("work")) for _ in range(20)]
        attempts = [(await executor.work()).attempt for _ in range(20)]
        for attempt in attempts:
            await executor.succeed(attempt)
    assert all(call.result() for call in calls)
    assert running_at_once(await caller.log()) == 20


async def test_a_call_that_finds_the_queue_full_is_refused_at_once(caller):
    await apply(caller, policy(bulkheads=[bulkhead(max_concurrent=1, max_queued=1)]))
    async with raw_executor(caller, WORK) as executor:
        running = await caller.start(step("work"))
        held = await executor.work()
        waiting = await caller.start(step("work"))
        outcome = (await caller.call("work")).outcome
        assert outcome.failure.reason == "OVERLOADED"
        assert outcome.failure.retry_after_ms >= 800
        await executor.succeed(held.attempt)
        await executor.succeed((await executor.work()).attempt)
        for workflow_id in (running, waiting):
            assert (await caller.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED


async def test_a_step_that_finds_the_queue_full_is_tried_again_and_the_rejection_is_on_record(caller):
    await apply(caller, policy(bulkheads=[bulkhead(max_concurrent=1, max_queued=1)]))
    retry = definition_pb2.RetryPolicy(max_attempts=2, initial_backoff_ms=1)
    async with raw_executor(caller, WORK) as executor:
        await caller.start(step("work"))
        held = await executor.work()
        await caller.start(step("work"))
        third = await caller.start(step("work", retry=retry))
        for _ in range(2):
            await executor.succeed(held.attempt)
            held = await executor.work()
        assert held.attempt.workflow_id == third
        await executor.succeed(held.attempt)
        await caller.ended(third)
    rejected = [event.attempt_rejected for event in await caller.history(third) if event.HasField("attempt_rejected")]
    assert [(each.guard, each.failure.reason) for each in rejected] == [("bulkhead", "OVERLOADED")]


async def test_identical_calls_that_wait_for_the_first_of_them_are_not_in_the_queue(caller):
    await apply(caller, policy(bulkheads=[bulkhead(max_concurrent=2, max_queued=1)]))
    cached = tool("work", read_only=True, caching=definition_pb2.Caching(ttl_ms=60_000))

    async def begin(arguments):
        workflow_id = await caller.start(step("work", arguments))
        return workflow_id, (await caller.steps(workflow_id))["step_1"].state

    async with raw_executor(caller, cached, max_attempts=9) as executor:
        leader, _ = await begin({"a": 1})
        held = await executor.work()
        followers = [await begin({"a": 1}) for _ in range(5)]
        assert {state for _, state in followers} == {value_pb2.STEP_STATE_QUEUED}
        other, _ = await begin({"a": 2})
        attempt = (await executor.work()).attempt
        assert attempt.workflow_id == other
        # Negative control: those who wait for a permit fill it.
        waiting, state = await begin({"a": 3})
        assert state == value_pb2.STEP_STATE_QUEUED
        assert (await caller.call("work", {"a": 4})).outcome.failure.reason == "OVERLOADED"
        for each in (held.attempt, attempt):
            await executor.succeed(each)
        await executor.succeed((await executor.work()).attempt)
        for workflow_id in (leader, other, waiting, *(each for each, _ in followers)):
            assert (await caller.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED


async def test_a_bulkhead_of_another_tool_holds_nobody_back(caller):
    await apply(caller, policy(bulkheads=[bulkhead(tools=["oth*"], max_concurrent=1)]))
    async with raw_executor(caller, WORK) as executor:
        await caller.start(step("work"), step("work"))
        assert len({(await executor.work()).attempt.step_id for _ in range(2)}) == 2


async def test_those_who_wait_go_by_priority_and_then_in_the_order_in_which_they_came(caller):
    await apply(caller, policy(bulkheads=[bulkhead(max_concurrent=1)]))
    low, high = definition_pb2.PRIORITY_LOW, definition_pb2.PRIORITY_HIGH
    async with raw_executor(caller, WORK) as executor:
        first = await caller.start(step("work"))
        held = await executor.work()
        started = [await caller.start(step("work"), priority=each) for each in (low, 0, high, low, 0, high)]
        order = []
        for _ in started:
            await executor.succeed(held.attempt)
            held = await executor.work()
            order.append(started.index(held.attempt.workflow_id))
        assert held.attempt.workflow_id != first
        await executor.succeed(held.attempt)
    assert order == [2, 5, 1, 4, 0, 3]


@pytest.mark.parametrize("ending", ["succeed", "fail", "cancel", "timeout", "lose"])
async def test_a_permit_comes_back_however_an_attempt_ends(admit, caller, ending):
    await apply(caller, policy(bulkheads=[bulkhead(max_concurrent=1)]))
    async with raw_executor(caller, WORK, instance_id="stays", executor="stays") as stays:
        if ending == "lose":
            async with raw_executor(admit("bob"), WORK, instance_id="goes", executor="goes", max_attempts=9) as goes:
                first = await caller.start(step("work", retry=NO_RETRY))
                await goes.work()
            second = await caller.start(step("work"))
        else:
            timeouts = definition_pb2.Timeouts(start_to_close_ms=300 if ending == "timeout" else 0)
            first = await caller.start(step("work", retry=NO_RETRY, timeouts=timeouts), cancel_grace_ms=1)
            held = await stays.work()
            second = await caller.start(step("work"))
            if ending == "succeed":
                await stays.succeed(held.attempt)
            elif ending == "fail":
                await stays.fail(held.attempt)
            elif ending == "cancel":
                await caller.cancel(first)
        following = await stays.work()
        assert following.attempt.workflow_id == second
        await stays.succeed(following.attempt)
        await caller.ended(second)
    assert running_at_once(await caller.log()) == 1


async def test_a_policy_that_is_wider_lets_those_who_wait_through_and_a_narrower_one_counts_what_runs(caller):
    async with raw_executor(caller, WORK, max_attempts=9) as executor:
        await caller.start(*[step("work") for _ in range(3)])
        running = [await executor.work() for _ in range(3)]
        await apply(caller, policy(bulkheads=[bulkhead(max_concurrent=3)]))
        waiting = await caller.start(step("work"))
        assert (await caller.steps(waiting))["step_1"].state == value_pb2.STEP_STATE_QUEUED
        await apply(caller, policy(bulkheads=[bulkhead(max_concurrent=4)]))
        assert (await executor.work()).attempt.workflow_id == waiting
        assert len(running) == 3


async def test_the_executors_of_a_name_have_as_many_attempts_at_once_as_their_bulkhead_lets(admit, caller):
    await apply(caller, policy(bulkheads=[bulkhead(executors=["billing"], max_concurrent=3)]))
    async with (
        raw_executor(caller, WORK, executor="billing", instance_id="a", max_attempts=20) as one,
        raw_executor(admit("bob"), WORK, executor="billing", instance_id="b", max_attempts=20) as other,
        answering(one),
        answering(other),
    ):
        workflow_id = await caller.start(*[step("work") for _ in range(40)])
        assert (await caller.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
    assert running_at_once(await caller.log()) == 3


async def test_executors_of_other_names_take_as_many_as_they_say(caller):
    await apply(caller, policy(bulkheads=[bulkhead(executors=["billing"], max_concurrent=3)]))
    async with raw_executor(caller, WORK, max_attempts=20) as executor:
        await caller.start(*[step("work") for _ in range(10)])
        assert len({(await executor.work()).attempt.step_id for _ in range(10)}) == 10


async def test_after_a_crash_what_runs_still_holds_its_permits(own_service, admit):
    service = own_service(reconnect_grace_ms=30_000, heartbeat_interval_ms=1_000).start()
    caller = admit(to=service)
    await apply(caller, policy(bulkheads=[bulkhead(max_concurrent=2)]))
    async with raw_executor(caller, WORK, max_attempts=9) as executor:
        await caller.start(step("work"), step("work"), step("work"))
        running = [await executor.work() for _ in range(2)]
        service.kill()
    service.start()
    holding = [executor_service_pb2.HeldAttempt(attempt=each.attempt) for each in running]
    async with raw_executor(caller, WORK, max_attempts=9, holding=holding) as executor, answering(executor):
        later = await caller.start(step("work"))
        assert (await caller.steps(later))["step_1"].state == value_pb2.STEP_STATE_QUEUED
        for assignment in running:
            await executor.succeed(assignment.attempt)
        assert (await caller.ended(later)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
    assert running_at_once(await caller.log()) == 2
