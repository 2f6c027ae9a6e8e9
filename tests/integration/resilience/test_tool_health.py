"""Probes of executors that can say whether they could run a tool: who is asked, and who gets work."""

import grpc.aio
import pytest

from podium.v1 import definition_pb2, executor_service_pb2, monitoring_service_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor, tool

PROBING = definition_pb2.Probing(interval_ms=20, timeout_ms=20, unhealthy_after=2, healthy_after=2)
WORK = tool("work", read_only=True, probing=PROBING)


async def say(executor, *answers):
    """Answers as many probes."""
    for healthy in answers:
        probe = await executor.expect("probe")
        assert probe.tool == "work"
        answer = executor_service_pb2.ToolProbed(probe=probe.probe, healthy=healthy, message="the disk is full")
        await executor.send(("probed", answer))


async def executors(caller, **fields):
    request = monitoring_service_pb2.ListExecutorsRequest(**fields)
    return await caller.monitoring.ListExecutors(request)


async def health_is(caller, executor, *, healthy):
    """Answers probes until the service takes the tool to be so."""
    while True:
        await say(executor, healthy)
        (only,) = (await executors(caller)).executors
        if only.tools[0].healthy == healthy:
            return only.tools[0]


async def changes(caller):
    return [event.tool_health_changed for event in await caller.history("health/work")]


@pytest.mark.both_databases
async def test_steps_wait_for_a_healthy_executor_and_go_on_when_it_has_recovered(caller):
    async with raw_executor(caller, WORK) as executor:
        running = await caller.start(step("work"))
        held = await executor.work()
        told = await health_is(caller, executor, healthy=False)
        assert (told.message, told.probed_at_us > 0) == ("the disk is full", True)
        waiting = await caller.start(step("work"))
        (queued,) = [each.step_queued for each in await caller.history(waiting) if each.HasField("step_queued")]
        assert queued.waits_for == "a healthy executor that serves work"
        # What runs goes on, and its place, free again, goes to nobody.
        await executor.succeed(held.attempt)
        assert (await caller.ended(running)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
        assert (await caller.steps(waiting))["step_1"].state == value_pb2.STEP_STATE_QUEUED
        await health_is(caller, executor, healthy=True)
        assert (await executor.work()).attempt.workflow_id == waiting
    assert [(each.healthy, each.answers, each.executor) for each in await changes(caller)] == [
        (False, 2, "raw"),
        (True, 2, "raw"),
    ]


async def test_what_a_healthy_tool_said_last_is_told_and_is_no_event(caller):
    async with raw_executor(caller, WORK) as executor:
        for message in ("pool: 1 of 9 in use", "pool: 2 of 9 in use"):
            while True:
                probe = await executor.expect("probe")
                answer = executor_service_pb2.ToolProbed(probe=probe.probe, healthy=True, message=message)
                await executor.send(("probed", answer))
                (only,) = (await executors(caller)).executors
                if only.tools[0].message == message:
                    break
            assert only.tools[0].healthy
    assert await changes(caller) == []


async def test_no_answer_in_time_is_one_that_says_no(caller):
    async with raw_executor(caller, WORK) as executor:
        for _ in range(3):
            await executor.expect("probe")
        while not (told := await changes(caller)):
            await executor.expect("probe")
    assert told[0].message == "no answer in time"


async def test_who_is_well_gets_the_work_of_who_is_not(admit, caller):
    async with (
        raw_executor(caller, WORK, executor="sick", instance_id="sick", max_attempts=100) as sick,
        raw_executor(
            admit("bob"), tool("work", read_only=True, probing=PROBING), executor="well", instance_id="w"
        ) as well,
    ):
        while not await changes(caller):
            await say(sick, False)
            await say(well, True)
        workflow_id = await caller.start(step("work"))
        assert (await well.work()).attempt.workflow_id == workflow_id


async def test_an_answer_that_changes_nothing_is_not_recorded(caller):
    async with raw_executor(caller, WORK) as executor:
        await say(executor, True, False, True, False, True, True)
    assert await changes(caller) == []


async def test_a_tool_that_declares_no_probing_is_taken_to_be_well(caller):
    async with raw_executor(caller, "plain", labels={"zone": "a"}) as executor:
        workflow_id = await caller.start(step("plain"))
        await executor.work()
        (status,) = (await executors(caller, tool="plain")).executors
        assert (status.executor, dict(status.labels), status.attempts, status.max_attempts) == (
            "raw",
            {"zone": "a"},
            1,
            4,
        )
        assert status.tools[0].healthy
        assert status.heard_at_us > 0
        assert (await executors(caller, tool="other")).executors == []
    assert workflow_id


async def test_executors_are_listed_page_by_page_and_those_of_other_tenants_are_not(admit, caller):
    async with (
        raw_executor(caller, WORK, instance_id="a"),
        raw_executor(admit("bob"), WORK, instance_id="b"),
        raw_executor(admit("eve", tenant="elsewhere-than-this"), WORK, instance_id="c") as foreign,
    ):
        first = await executors(caller, page_size=1)
        second = await executors(caller, page_size=1, page_token=first.next_page_token)
        sessions = [each.session_id for page in (first, second) for each in page.executors]
        assert len(sessions) == len(set(sessions)) == 2
        assert foreign.welcome.session_id not in sessions
        assert second.next_page_token == ""
        with pytest.raises(grpc.aio.AioRpcError, match="page_token"):
            await executors(caller, tool="work", page_token=first.next_page_token)
