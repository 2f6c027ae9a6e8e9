"""The service is killed and started again: what was acknowledged is there, what runs goes on, nothing happens twice."""

import asyncio
import contextlib

import pytest

import podium
from podium.v1 import definition_pb2, executor_service_pb2, tool_service_pb2, value_pb2, workflow_service_pb2
from service.main import replay_offline
from tests.integration.rig.caller import step
from tests.integration.rig.history import check_versions, kinds
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import refusal_of
from tests.integration.rig.service_process import ServiceProcess
from tests.integration.rig.toolbox import toolbox

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def mortal_service(request, tmp_path_factory):
    settings = {"heartbeat_interval_ms": 1000, "reconnect_grace_ms": 10_000}
    database = None
    if request.param == "postgres":
        database = asyncio.run(request.getfixturevalue("postgres").create_database(migrated=False))
    process = ServiceProcess(tmp_path_factory.mktemp("mortal"), database, **settings).start()
    yield process
    process.stop()
    assert process.complaints() == []


@pytest.fixture
def service(mortal_service):
    """The service that these tests kill; every other fixture works with it too."""
    return mortal_service


async def restart(service):
    """Kills it and starts it again, on the same port and the same files."""
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)


def call(value):
    return tool_service_pb2.ToolCall(tool="echo", arguments_json=f'{{"value": {value}}}')


async def test_a_repeated_request_gets_the_same_answer(service, admit, connect):
    ana, tools = admit(), toolbox()
    await connect(tools)
    start = workflow_service_pb2.StartWorkflowRequest(open=True, request_id="start")
    workflow_id = (await ana.workflows.StartWorkflow(start)).workflow_id
    added = await ana.add(workflow_id, step("echo", {"value": 5}), request_id="add")
    one = tool_service_pb2.CallToolRequest(call=call(1), request_id="call")
    many = tool_service_pb2.CallToolBatchRequest(calls=[call(2), call(3)], request_id="batch")
    called, batched = await ana.tools.CallTool(one), await ana.tools.CallToolBatch(many)
    await ana.finish(workflow_id, request_id="finish")
    await ana.ended(workflow_id)
    runs = tools.ran()
    await restart(service)
    again = admit()
    async with again.recording_nothing():
        assert (await again.workflows.StartWorkflow(start)).workflow_id == workflow_id
        assert await again.add(workflow_id, step("echo", {"value": 5}), request_id="add") == added
        assert await again.tools.CallTool(one) == called
        assert await again.tools.CallToolBatch(many) == batched
        await again.finish(workflow_id, request_id="finish")
        start.name = "changed"
        for other in (
            again.add(workflow_id, step("echo", {"value": 6}), request_id="add"),
            again.workflows.StartWorkflow(start),
        ):
            assert (await refusal_of(other)).reason == "REQUEST_ID_REUSED"
    assert tools.ran() == runs


async def test_a_watch_goes_on(service, admit, connect):
    tools = toolbox()
    client = await connect(tools)
    workflow = podium.Workflow()
    first = workflow.step("echo", value=1)
    gated = workflow.step("gated", gate="g", after=[first])
    workflow.step("echo", value=gated)
    run = await client.start(workflow)
    seen, killed = [], False
    async for update in run.watch():
        if update.event is not None:
            seen.append(update.event)
        if update.step_id == gated.id and update.kind == "attempt_started":
            await tools.entered["g"].wait()
            killed = True
            await restart(service)
            tools.gates["g"].set()
    assert killed
    check_versions(seen)
    assert kinds(seen)[-1] == "workflow_succeeded"
    assert await admit().history(run.id) == seen, "what was seen before the kill is what is recorded"
    assert len(tools.calls) == 3


async def test_an_attempt_goes_on_with_its_fence_and_its_chunks(service, admit):
    ana = admit()
    streaming = tool("stream", streams_output=True)
    with contextlib.suppress(BaseExceptionGroup):
        async with raw_executor(ana, streaming) as executor:
            workflow_id = await ana.start(step("stream"))
            attempt = (await executor.work()).attempt
            await executor.chunk(attempt, 1, b"before ")
            await executor.expect("chunks_acknowledged")
            await restart(service)
    again = admit()
    held = executor_service_pb2.HeldAttempt(attempt=attempt, acknowledged_chunk=1)
    async with raw_executor(again, streaming, holding=[held]) as executor:
        verdict = executor.held[workflow_id, "step_1"]
        assert verdict.action == executor_service_pb2.HeldVerdict.ACTION_KEEP
        assert (verdict.resume_after_chunk, verdict.attempt) == (1, attempt)
        await executor.chunk(attempt, 2, b"after")
        await executor.succeed(attempt, None, chunk_count=2)
        assert (await executor.expect("outcome_acknowledged")).accepted
    assert (await again.steps(workflow_id))["step_1"].output_json == '"before after"'
    assert (await again.replay(workflow_id)).matches


async def test_the_digest_of_a_workflow_stays_what_it_was(service, tenant, admit, connect):
    ana, tools = admit(), toolbox()
    await connect(tools)
    workflow_id = await ana.start(step("echo", {"value": 1}), step("gated", {"gate": "g"}, depends_on=["step_1"]))
    await tools.entered["g"].wait()
    before = await ana.replay(workflow_id)
    await asyncio.to_thread(service.kill)
    dead = await asyncio.to_thread(replay_offline, service.database, workflow_id, tenant)
    assert (dead.stream_version, dead.state_digest) == (before.stream_version, before.live_state_digest)
    await asyncio.to_thread(service.start)
    again = admit()
    after = await again.replay(workflow_id)
    assert after.matches
    assert after.live_state_digest == before.live_state_digest
    tools.gates["g"].set()
    assert (await again.ended(workflow_id)).state == SUCCEEDED


async def test_what_waits_goes_on_waiting_and_what_was_due_happens(service, admit, connect):
    ana = admit()
    await ana.register("later")
    queued = await ana.start(step("later"))
    opened = await ana.start(open=True, name="open")
    due = await ana.start(step("later"), timeout_ms=500)
    await restart(service)
    again = admit()
    assert (await again.ended(due)).failure.reason == "WORKFLOW_TIMEOUT"
    assert (await again.get(opened)).open
    async with raw_executor(again, "later") as executor:
        given = await executor.work()
        assert given.attempt.workflow_id == queued
        await executor.succeed(given.attempt)
        await executor.expect("outcome_acknowledged")
    await again.finish(opened)
    assert [(await again.ended(each)).state for each in (queued, opened)] == [SUCCEEDED, SUCCEEDED]


async def test_a_step_goes_on_with_the_link_of_its_chain_that_it_had_come_to(service, admit, connect):
    ana, tools = admit(), toolbox()
    await connect(tools)
    links = [
        definition_pb2.Fallback(tool=definition_pb2.ToolFallback(tool="gated", arguments_json='{"gate": "g"}')),
        definition_pb2.Fallback(value_json="0"),
    ]
    workflow_id = await ana.start(step("careless", fallback=links))
    await tools.entered["g"].wait()
    await restart(service)
    again = admit()
    tools.gates["g"].set()
    assert (await again.ended(workflow_id)).degraded_steps == 1
    found = (await again.steps(workflow_id))["step_1"]
    assert (found.tool, found.output_json, found.attempts, found.degraded_by) == ("gated", '"g"', 2, 1)
    assert [name for name, *_ in tools.calls] == ["careless", "gated"]
    assert (await again.replay(workflow_id)).matches
