"""A connection that breaks costs nothing: attempts go on, chunks are neither lost nor doubled, results arrive once."""

import asyncio
import json

import pytest

import podium
from podium.v1 import executor_service_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.cutting_proxy import cutting_proxy
from tests.integration.rig.history import of_step, payload
from tests.integration.rig.raw_executor import raw_executor, tool

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED
KEEP, ABORT = executor_service_pb2.HeldVerdict.ACTION_KEEP, executor_service_pb2.HeldVerdict.ACTION_ABORT


@pytest.fixture
async def proxy(service):
    async with cutting_proxy(service.port) as running:
        yield running


@pytest.fixture
def app():
    """An executor whose tool streams a piece for each number it is given."""
    executor = podium.Executor("streaming")
    executor.numbers, executor.returned = asyncio.Queue(), asyncio.Event()
    executor.runs = 0

    @executor.tool(streams_output=True)
    async def stream():
        """Stream what the test says, until it says None."""
        executor.runs += 1
        while (number := await executor.numbers.get()) is not None:
            yield f"{number} "
        executor.returned.set()

    return executor


async def chunk_seen(watch, sequence):
    while True:
        message = await watch.read()
        if any(item.chunk.sequence == sequence for item in message.items):
            return


@pytest.mark.parametrize("how", ["cut", "cut_near"])
async def test_an_attempt_outlives_its_connection_and_its_chunks_go_on(caller, connect, proxy, app, how):
    await connect(app, address=proxy.address)
    workflow_id = await caller.start(step("stream"))
    watch = caller.watch(workflow_id)
    for number in range(1, 6):
        app.numbers.put_nowait(number)
    await chunk_seen(watch, 5)
    connections = proxy.connections
    proxy.hold()
    getattr(proxy, how)()
    for number in range(6, 11):
        app.numbers.put_nowait(number)
    proxy.release()
    await chunk_seen(watch, 10)
    watch.cancel()
    assert proxy.connections > connections
    app.numbers.put_nowait(11)
    app.numbers.put_nowait(None)
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    expected = "".join(f"{number} " for number in range(1, 12))
    assert json.loads((await caller.steps(workflow_id))["step_1"].output_json) == expected
    events = await caller.history(workflow_id)
    assert of_step(events, "step_1").count("attempt_started") == 1
    assert payload(events, "step_succeeded").chunk_count == 11
    assert app.runs == 1


async def test_a_result_that_comes_about_without_a_connection_arrives_when_it_is_back(caller, connect, proxy, app):
    await connect(app, address=proxy.address)
    workflow_id = await caller.start(step("stream"))
    watch = caller.watch(workflow_id)
    app.numbers.put_nowait(1)
    await chunk_seen(watch, 1)
    watch.cancel()
    proxy.hold()
    proxy.cut()
    app.numbers.put_nowait(2)
    app.numbers.put_nowait(None)
    await app.returned.wait()
    proxy.release()
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert (await caller.steps(workflow_id))["step_1"].output_json == '"1 2 "'
    assert app.runs == 1


async def test_an_executor_that_is_cut_again_and_again_loses_nothing(caller, connect, proxy, app):
    await connect(app, address=proxy.address)
    workflow_id = await caller.start(step("stream"))
    watch = caller.watch(workflow_id)
    for number in range(1, 6):
        app.numbers.put_nowait(number)
        await chunk_seen(watch, number)
        proxy.cut()
    watch.cancel()
    app.numbers.put_nowait(None)
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert (await caller.steps(workflow_id))["step_1"].output_json == '"1 2 3 4 5 "'
    assert app.runs == 1


def held(attempt, acknowledged=0):
    return executor_service_pb2.HeldAttempt(attempt=attempt, acknowledged_chunk=acknowledged)


async def test_the_verdict_on_a_held_attempt_says_which_chunks_are_durable(caller):
    streaming = tool("stream", streams_output=True)
    async with raw_executor(caller, streaming) as executor:
        workflow_id = await caller.start(step("stream"))
        attempt = (await executor.work()).attempt
        for number in range(1, 4):
            await executor.chunk(attempt, number, b"%d" % number)
        while (await executor.expect("chunks_acknowledged")).sequence < 3:
            pass
    async with raw_executor(caller, streaming, holding=[held(attempt, 1)]) as executor:
        verdict = executor.held[workflow_id, "step_1"]
        assert (verdict.action, verdict.resume_after_chunk) == (KEEP, 3)
        await executor.chunk(attempt, 3, b"again")
        await executor.chunk(attempt, 4, b"4")
        await executor.succeed(attempt, None, chunk_count=4)
        assert (await executor.expect("outcome_acknowledged")).accepted
    assert (await caller.steps(workflow_id))["step_1"].output_json == '"1234"'


async def test_an_attempt_that_ended_or_never_was_is_to_be_aborted(caller):
    async with raw_executor(caller, "work") as executor:
        workflow_id = await caller.start(step("work"))
        attempt = (await executor.work()).attempt
        await executor.succeed(attempt)
        await executor.expect("outcome_acknowledged")
    unknown = executor_service_pb2.AttemptReference(workflow_id="wf_gone", step_id="step_1", attempt=1, fence=1)
    async with raw_executor(caller, "work", holding=[held(attempt), held(unknown)]) as executor:
        assert {verdict.action for verdict in executor.held.values()} == {ABORT}
    assert of_step(await caller.history(workflow_id), "step_1").count("attempt_started") == 1


async def test_an_attempt_cannot_be_claimed_while_another_process_holds_it(caller):
    async with raw_executor(caller, "work", instance_id="first") as first:
        await caller.start(step("work"))
        attempt = (await first.work()).attempt
        async with raw_executor(caller, "work", instance_id="second", holding=[held(attempt)]) as second:
            assert {verdict.action for verdict in second.held.values()} == {ABORT}
        await first.succeed(attempt)
        assert (await first.expect("outcome_acknowledged")).accepted


async def test_an_attempt_cannot_be_claimed_by_who_does_not_serve_its_tool(caller, admit):
    await caller.register("other")
    async with raw_executor(caller, "work") as executor:
        workflow_id = await caller.start(step("work"))
        attempt = (await executor.work()).attempt
    stranger = admit("eve", roles=["executor"], scopes=("tools.serve:other",))
    async with raw_executor(stranger, "other", holding=[held(attempt)]) as thief:
        assert {verdict.action for verdict in thief.held.values()} == {ABORT}
        async with raw_executor(caller, "work", holding=[held(attempt)]) as executor:
            assert executor.held[workflow_id, "step_1"].action == KEEP
            await executor.succeed(attempt, "mine")
            assert (await executor.expect("outcome_acknowledged")).accepted
