"""The same request_id gets the same answer and does nothing twice: at once, again, and after a restart."""

import asyncio

import pytest

import podium
from podium.v1 import tool_service_pb2, workflow_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.refusal import refusal_of

pytestmark = pytest.mark.both_databases

TOGETHER = 20


@pytest.fixture
async def ana(caller):
    await caller.register("note")
    return caller


@pytest.fixture
def counting():
    """An executor whose tool counts how often it ran."""
    app = podium.Executor("counting")
    app.runs = []

    @app.tool
    async def count(n: int) -> int:
        """Count a run."""
        app.runs.append(n)
        return len(app.runs)

    return app


def call(n):
    return tool_service_pb2.ToolCall(tool="count", arguments_json=f'{{"n": {n}}}')


def reused(refusal):
    assert (refusal.code, refusal.reason, refusal.domain) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED", "podium")
    assert refusal.fields == {"request_id"}
    return True


async def test_a_repeated_start_gives_the_same_workflow(ana):
    request = workflow_service_pb2.StartWorkflowRequest(steps=[step("note"), step("note")], request_id="once")
    first = await ana.workflows.StartWorkflow(request)
    async with ana.recording_nothing():
        again = await ana.workflows.StartWorkflow(request)
    assert (again.workflow_id, again.step_ids) == (first.workflow_id, first.step_ids)


async def test_another_start_under_a_used_request_id_is_refused(ana):
    await ana.start(step("note"), request_id="once")
    async with ana.recording_nothing():
        for other in (
            ana.start(step("note"), step("note"), request_id="once"),
            ana.start(step("note"), name="n", request_id="once"),
            ana.start(step("note"), input_json="1", request_id="once"),
        ):
            assert reused(await refusal_of(other))


async def test_a_refused_start_does_not_use_its_request_id_up(ana):
    assert await refusal_of(ana.start(step("gone"), request_id="once"))
    assert await ana.start(step("note"), request_id="once")


async def test_twenty_equal_starts_at_once_make_one_workflow(ana):
    before = len(await ana.log())
    ids = await asyncio.gather(*[ana.start(step("note"), request_id="once") for _ in range(TOGETHER)])
    assert len(set(ids)) == 1
    recorded = (await ana.log())[before:]
    assert [event.WhichOneof("payload") for event in recorded] == ["workflow_started", "steps_added", "step_queued"]


async def test_twenty_different_starts_at_once_under_one_request_id_make_one_workflow(ana):
    starts = [ana.start(step("note", {"n": n}), request_id="once") for n in range(TOGETHER)]
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(event.HasField("workflow_started") for event in await ana.log()) == 1


async def test_request_ids_belong_to_their_subject_and_their_method(ana, admit):
    bob = admit("bob")
    first = await ana.start(step("note"), request_id="once")
    assert await bob.start(step("note"), request_id="once") != first
    called = ana.tools.CallTool(
        tool_service_pb2.CallToolRequest(call=tool_service_pb2.ToolCall(tool="note"), request_id="once", timeout_ms=1)
    )
    assert (await called).workflow_id != first


async def test_repeated_steps_are_added_once(ana):
    workflow_id = await ana.start(open=True)
    first = await ana.add(workflow_id, step("note"), step("note"), request_id="once")
    async with ana.recording_nothing():
        again = await ana.add(workflow_id, step("note"), step("note"), request_id="once")
        assert reused(await refusal_of(ana.add(workflow_id, step("note"), request_id="once")))
    assert first == again == ["step_1", "step_2"]
    assert await ana.add(workflow_id, step("note"), step("note"), request_id="twice") == ["step_3", "step_4"]


async def test_twenty_equal_additions_at_once_add_once(ana):
    workflow_id = await ana.start(open=True)
    added = await asyncio.gather(*[ana.add(workflow_id, step("note"), request_id="once") for _ in range(TOGETHER)])
    assert added == [["step_1"]] * TOGETHER
    assert list(await ana.steps(workflow_id)) == ["step_1"]


async def test_steps_that_were_added_before_the_end_are_answered_after_it(ana):
    workflow_id = await ana.start(open=True)
    first = await ana.add(workflow_id, step("note"), request_id="once")
    await ana.cancel(workflow_id)
    await ana.ended(workflow_id)
    assert await ana.add(workflow_id, step("note"), request_id="once") == first
    refusal = await refusal_of(ana.add(workflow_id, step("note"), request_id="late"))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "WORKFLOW_ENDED")


async def test_a_repeated_call_runs_the_tool_once(ana, connect, counting):
    await connect(counting)
    request = tool_service_pb2.CallToolRequest(call=call(7), request_id="once")
    answers = await asyncio.gather(*[ana.tools.CallTool(request) for _ in range(TOGETHER)])
    async with ana.recording_nothing():
        answers.append(await ana.tools.CallTool(request))
        other = tool_service_pb2.CallToolRequest(call=call(8), request_id="once")
        assert reused(await refusal_of(ana.tools.CallTool(other)))
    assert len({answer.SerializeToString() for answer in answers}) == 1
    assert answers[0].outcome.output_json == "1"
    assert counting.runs == [7]


async def test_a_repeated_batch_runs_its_tools_once(ana, connect, counting):
    await connect(counting)
    request = tool_service_pb2.CallToolBatchRequest(calls=[call(1), call(2)], request_id="once")
    answers = await asyncio.gather(*[ana.tools.CallToolBatch(request) for _ in range(TOGETHER)])
    async with ana.recording_nothing():
        answers.append(await ana.tools.CallToolBatch(request))
        other = tool_service_pb2.CallToolBatchRequest(calls=[call(1)], request_id="once")
        assert reused(await refusal_of(ana.tools.CallToolBatch(other)))
    assert len({answer.SerializeToString() for answer in answers}) == 1
    assert sorted(counting.runs) == [1, 2]


async def test_finish_and_cancel_can_be_repeated(ana):
    finished, canceled = await ana.start(open=True), await ana.start(step("note"), open=True)
    await ana.finish(finished, request_id="f")
    await ana.cancel(canceled, request_id="c", reason="enough")
    await ana.ended(finished)
    await ana.ended(canceled)
    async with ana.recording_nothing():
        await ana.finish(finished, request_id="f")
        await ana.finish(finished)
        await ana.cancel(canceled, request_id="c", reason="enough")
        await ana.cancel(canceled, reason="again")


async def test_twenty_cancels_at_once_are_recorded_once(ana):
    workflow_id = await ana.start(step("note"))
    await asyncio.gather(*[ana.cancel(workflow_id, request_id="c") for _ in range(TOGETHER)])
    names = [event.WhichOneof("payload") for event in await ana.history(workflow_id)]
    assert names.count("workflow_cancel_requested") == names.count("workflow_canceled") == 1
