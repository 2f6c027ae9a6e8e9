"""Identical calls of a tool whose results are cached, in virtual time: a failure costs them no more than without it."""

import asyncio

import pytest

from podium.v1 import definition_pb2, tool_service_pb2, workflow_service_pb2
from tests.simulation.executors import tool
from tests.simulation.stage import play, step
from tests.simulation.virtual_time import elapse

CALLS = 20
CACHED = tool("quote", read_only=True, caching=definition_pb2.Caching(ttl_ms=60_000))
UNCACHED = tool("quote", read_only=True)


async def start_at_once(stage, definition, *, max_attempts):
    await stage.ask("tools", "RegisterTool", tool_service_pb2.RegisterToolRequest(definition=definition))
    executor = await stage.executor(tools=(definition,), max_attempts=100)
    retry = definition_pb2.RetryPolicy(max_attempts=max_attempts, initial_backoff_ms=100)
    steps = (step(f"s{number}", uses="quote", retry=retry) for number in range(CALLS))
    workflow_id = await stage.start(*steps)
    return executor, workflow_id


def fails_after_a_second(definition, max_attempts):
    """How long it takes until the last of the calls has failed, and how many attempts there were."""

    async def scene(stage):
        executor, workflow_id = await start_at_once(stage, definition, max_attempts=max_attempts)
        began_s = stage.now_s

        async def fail_late(assigned):
            await elapse(1)
            executor.fail(assigned)

        async with asyncio.TaskGroup() as failing:
            for _ in range(CALLS * max_attempts):
                failing.create_task(fail_late(await executor.hear("assign")))
        await stage.until_ended(workflow_id)
        return stage.now_s - began_s, len(stage.log.of_kind(workflow_id, "attempt_started"))

    return play(scene)


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_calls_that_all_fail_take_a_failure_longer_than_without_a_cache(max_attempts):
    without_s, without_attempts = fails_after_a_second(UNCACHED, max_attempts)
    with_s, with_attempts = fails_after_a_second(CACHED, max_attempts)
    assert with_attempts == without_attempts == CALLS * max_attempts
    # They wait for the first failure, and for no other.
    assert without_s <= with_s <= without_s + 1.5


def test_an_executor_that_is_lost_is_no_failure_of_the_tool_and_one_other_goes():
    async def scene(stage):
        executor, workflow_id = await start_at_once(stage, CACHED, max_attempts=1)
        await executor.hear("assign")
        executor.vanish()
        executor = await stage.executor("two", tools=(CACHED,), max_attempts=100)
        executor.succeed(await executor.hear("assign"), '"late"')
        await stage.until_ended(workflow_id)
        assert len(stage.log.of_kind(workflow_id, "attempt_started")) == 2
        assert len(stage.log.of_kind(workflow_id, "step_succeeded")) == CALLS - 1

    play(scene)


def test_a_leader_whose_own_run_is_out_of_time_is_no_failure_for_those_who_wait_and_one_other_goes():
    async def scene(stage):
        await stage.ask("tools", "RegisterTool", tool_service_pb2.RegisterToolRequest(definition=CACHED))
        executor = await stage.executor(tools=(CACHED,), max_attempts=100)
        hurried = workflow_service_pb2.StartWorkflowRequest(steps=[step("s", uses="quote")], timeout_ms=1_000)
        leader = (await stage.ask("workflows", "StartWorkflow", hurried)).workflow_id
        await executor.hear("assign")
        others = await stage.start(*(step(f"s{number}", uses="quote") for number in range(CALLS)))
        await stage.until_ended(leader)
        executor.succeed(await executor.hear("assign"), '"late"')
        await stage.until_ended(others)
        assert len(stage.log.of_kind(others, "attempt_started")) == 1
        assert len(stage.log.of_kind(others, "step_succeeded")) == CALLS

    play(scene)
