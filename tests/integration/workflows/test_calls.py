"""Direct calls and batches of them: outcomes in order, at most so many at once, one failure stopping no other."""

import asyncio
import json

import pytest

from podium.v1 import event_service_pb2, events_pb2, tool_service_pb2, value_pb2
from tests.integration.rig.history import concurrency, place
from tests.integration.rig.raw_executor import raw_executor

STATE = value_pb2.StepState


def call(name, **arguments):
    return tool_service_pb2.ToolCall(tool=name, arguments_json=json.dumps(arguments))


async def batch(caller, *calls, **fields):
    return await caller.tools.CallToolBatch(tool_service_pb2.CallToolBatchRequest(calls=calls, **fields))


async def test_a_call_gives_the_output_and_the_event_that_proves_it(caller, tools):
    answer = await caller.call("add", {"a": 40, "b": 2})
    outcome = answer.outcome
    assert (outcome.state, outcome.output_json, outcome.attempts) == (STATE.STEP_STATE_SUCCEEDED, "42", 1)
    events = await caller.history(answer.workflow_id)
    [succeeded] = [event for event in events if event.HasField("step_succeeded")]
    assert outcome.event == place(succeeded)
    assert events[0].workflow_started.kind == events_pb2.WORKFLOW_KIND_CALL


async def test_the_arguments_of_a_call_are_taken_literally(caller, tools):
    text = "${input} step_1 $${x}"
    assert json.loads((await caller.call("echo", {"value": text})).outcome.output_json) == text


async def test_a_batch_runs_at_most_max_workers_at_once_and_answers_in_order(caller, tools):
    gates = [f"g{n}" for n in range(6)]
    asked = asyncio.create_task(batch(caller, *[call("gated", gate=gate) for gate in gates], max_workers=2))
    for gate in gates:
        await tools.entered[gate].wait()
        assert len(tools.calls) <= gates.index(gate) + 2
        tools.gates[gate].set()
    answer = await asked
    assert [json.loads(each.output_json) for each in answer.outcomes] == gates
    running = concurrency(await caller.history(answer.workflow_id), "step_")
    assert max(running) == 2


async def test_without_max_workers_all_calls_run_at_once(caller, tools):
    asked = asyncio.create_task(batch(caller, *[call("gated", gate=f"g{n}") for n in range(6)]))
    for n in range(6):
        await tools.entered[f"g{n}"].wait()
    for n in range(6):
        tools.gates[f"g{n}"].set()
    assert len((await asked).outcomes) == 6


async def test_the_same_tool_may_be_called_twice_with_the_same_arguments(caller, tools):
    answer = await batch(caller, call("echo", value=1), call("echo", value=1), call("echo", value=2))
    assert [each.output_json for each in answer.outcomes] == ["1", "1", "2"]
    assert len({key for _, _, _, key in tools.calls}) == 3


async def test_one_failure_stops_no_other_call(admit, caller, tools):
    agent = admit("bob", roles=["agent"])
    answer = await batch(
        agent,
        call("echo", value="fine"),
        call("careless"),
        call("pay", cents=5),
        call("echo", value="fine too"),
    )
    states = [each.state for each in answer.outcomes]
    assert states == [
        STATE.STEP_STATE_SUCCEEDED,
        STATE.STEP_STATE_FAILED,
        STATE.STEP_STATE_DENIED,
        STATE.STEP_STATE_SUCCEEDED,
    ]
    failed, denied = answer.outcomes[1:3]
    assert (failed.failure.message, failed.attempts) == ("ValueError: it broke", 1)
    assert (denied.failure.reason, denied.attempts) == ("PERMISSION_DENIED", 0)
    positions = {place(event) for event in await caller.history(answer.workflow_id)}
    assert {each.event for each in answer.outcomes} <= positions
    assert (await caller.get(answer.workflow_id)).kind == events_pb2.WORKFLOW_KIND_BATCH


async def test_a_batch_whose_time_is_up_tells_what_became_of_each_call(caller, tools):
    answer = await batch(caller, call("echo", value=1), call("gated", gate="never"), timeout_ms=300)
    first, second = answer.outcomes
    assert first.state == STATE.STEP_STATE_SUCCEEDED
    assert not first.HasField("failure")
    assert (second.state, second.failure.reason) == (STATE.STEP_STATE_FAILED, "WORKFLOW_TIMEOUT")
    tools.gates["never"].set()


async def test_a_caller_that_goes_away_does_not_stop_its_call(caller, tools):
    request = tool_service_pb2.CallToolRequest(call=call("gated", gate="g"), request_id="once")
    gone = caller.tools.CallTool(request)
    waiting = asyncio.ensure_future(gone)
    await tools.entered["g"].wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    tools.gates["g"].set()
    assert (await caller.tools.CallTool(request)).outcome.output_json == '"g"'
    assert len(tools.calls) == 1


async def test_a_call_waits_for_an_executor_that_comes_later(caller, connect):
    await caller.register("later")
    asked = asyncio.create_task(caller.call("later"))
    async for frame in caller.events.Subscribe(_queued()):
        if frame.events:
            break
    async with raw_executor(caller, "later") as executor:
        given = await executor.work()
        await executor.succeed(given.attempt, "here")
        assert (await asked).outcome.output_json == '"here"'


def _queued():
    return event_service_pb2.SubscribeRequest(types=["step_queued"])
