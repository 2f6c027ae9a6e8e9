"""Cancel reaches the tool; the first durable outcome wins; what outlasts its grace is abandoned, and said to be."""

import asyncio
import threading

import pytest

import podium
from podium.v1 import definition_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import kinds, of_step, payload, payloads
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.toolbox import toolbox

CANCELED, SUCCEEDED = value_pb2.WORKFLOW_STATE_CANCELED, value_pb2.WORKFLOW_STATE_SUCCEEDED
STEP = value_pb2.StepState


@pytest.fixture
def stubborn():
    """Tools that are stopped, look whether they should stop, or do not care."""
    app = podium.Executor("stubborn")
    app.entered, app.stopped = asyncio.Event(), asyncio.Event()
    app.loop_of_test = None

    @app.tool
    async def stoppable() -> None:
        """Wait for ever."""
        app.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            app.stopped.set()

    @app.tool
    def looking(ctx: podium.Context) -> None:
        """Look now and then whether this is still wanted."""
        app.loop_of_test.call_soon_threadsafe(app.entered.set)
        pause = threading.Event()
        while not ctx.cancelled:
            pause.wait(0.01)
        app.loop_of_test.call_soon_threadsafe(app.stopped.set)
        ctx.raise_if_cancelled()

    @app.tool
    async def finishing() -> str:
        """Finish the work when asked to stop."""
        app.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            app.stopped.set()
        return "done all the same"

    return app


async def test_a_cancel_is_recorded_with_who_asked_and_why(caller):
    await caller.register("nobody")
    workflow_id = await caller.start(step("nobody"), step("nobody", depends_on=["step_1"]))
    await caller.cancel(workflow_id, reason="changed my mind", request_id="c-1")
    assert (await caller.ended(workflow_id)).state == CANCELED
    events = await caller.history(workflow_id)
    [asked] = [event for event in events if event.HasField("workflow_cancel_requested")]
    assert asked.workflow_cancel_requested.reason == "changed my mind"
    assert (asked.principal.subject, asked.request_id) == ("ana", "c-1")
    assert kinds(events)[-2:] == ["workflow_cancel_requested", "workflow_canceled"]
    assert {each.state for each in (await caller.steps(workflow_id)).values()} == {STEP.STEP_STATE_CANCELED}
    assert (await caller.replay(workflow_id)).matches


@pytest.mark.parametrize("tool", ["stoppable", "looking"])
async def test_a_running_tool_is_told_to_stop(caller, connect, stubborn, tool):
    stubborn.loop_of_test = asyncio.get_running_loop()
    await connect(stubborn)
    workflow_id = await caller.start(step(tool))
    await stubborn.entered.wait()
    await caller.cancel(workflow_id)
    async with asyncio.timeout(10):
        await stubborn.stopped.wait()
    assert (await caller.ended(workflow_id)).state == CANCELED
    recorded = of_step(await caller.history(workflow_id), "step_1")
    assert recorded[-2:] == ["attempt_failed", "step_canceled"], "it ended by itself, and was not abandoned"


async def test_work_that_was_done_counts_even_after_a_cancel(caller, connect, stubborn):
    await connect(stubborn)
    workflow_id = await caller.start(step("finishing"))
    await stubborn.entered.wait()
    await caller.cancel(workflow_id)
    summary = await caller.ended(workflow_id)
    assert summary.state == SUCCEEDED, "the first durable outcome wins"
    assert (await caller.steps(workflow_id))["step_1"].output_json == '"done all the same"'


async def test_what_has_not_begun_is_canceled_and_what_has_ended_stays(caller, connect):
    tools = toolbox()
    await connect(tools)
    workflow_id = await caller.start(
        step("echo"), step("gated", {"gate": "g"}, depends_on=["step_1"]), step("echo", depends_on=["step_2"])
    )
    await tools.entered["g"].wait()
    await caller.cancel(workflow_id)
    assert (await caller.ended(workflow_id)).state == CANCELED
    states = [each.state for each in (await caller.steps(workflow_id)).values()]
    assert states == [STEP.STEP_STATE_SUCCEEDED, STEP.STEP_STATE_CANCELED, STEP.STEP_STATE_CANCELED]


async def test_an_attempt_beyond_its_grace_is_abandoned(caller):
    async with raw_executor(caller, "deaf") as executor:
        workflow_id = await caller.start(step("deaf"), cancel_grace_ms=50)
        given = await executor.work()
        await caller.cancel(workflow_id)
        told = await executor.expect("cancel")
        assert (told.attempt, told.reason) == (given.attempt, "the workflow was canceled")
        assert (await caller.ended(workflow_id)).state == CANCELED
        assert payload(await caller.history(workflow_id), "attempt_abandoned").step_id == "step_1"
        await executor.expect("cancel")
        await executor.succeed(given.attempt, "late")
        assert not (await executor.expect("outcome_acknowledged")).accepted
    assert (await caller.steps(workflow_id))["step_1"].output_json == ""


async def test_an_attempt_that_fails_while_canceling_is_not_repeated(caller):
    async with raw_executor(caller, "tool") as executor:
        workflow_id = await caller.start(step("tool"))
        given = await executor.work()
        await caller.cancel(workflow_id)
        await executor.expect("cancel")
        await executor.fail(given.attempt, "EXECUTOR_LOST", retryable=True)
        assert (await executor.expect("outcome_acknowledged")).accepted
        assert (await caller.ended(workflow_id)).state == CANCELED
    assert [each.retry_at_us for each in payloads(await caller.history(workflow_id), "attempt_failed")] == [0]


async def test_the_items_of_a_step_are_canceled_with_it(caller, connect):
    tools = toolbox()
    await connect(tools)
    workflow_id = await caller.start(
        step(
            "gated", {"gate": "${item}"}, for_each=definition_pb2.ForEach(items_json='["a", "b", "c"]', max_parallel=2)
        )
    )
    await tools.entered["a"].wait()
    await tools.entered["b"].wait()
    await caller.cancel(workflow_id)
    assert (await caller.ended(workflow_id)).state == CANCELED
    steps = await caller.steps(workflow_id)
    assert {name: each.state for name, each in steps.items()} == dict.fromkeys(
        ["step_1", "step_1[0]", "step_1[1]", "step_1[2]"], STEP.STEP_STATE_CANCELED
    )
    assert (await caller.replay(workflow_id)).matches


async def test_a_workflow_that_has_ended_cannot_be_canceled_any_more(caller, connect):
    await connect(toolbox())
    workflow_id = await caller.start(step("echo"))
    await caller.ended(workflow_id)
    async with caller.recording_nothing():
        await caller.cancel(workflow_id)
    assert (await caller.get(workflow_id)).state == SUCCEEDED
