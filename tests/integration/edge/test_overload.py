"""A service with more to do than it may hold says so, at once and with a time to come back; nothing is half done."""

import asyncio
import json

import pytest

import podium
from podium.v1 import definition_pb2, executor_service_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.refusal import refusal_if_any
from tests.integration.rig.service_process import ServiceProcess

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED
TOGETHER = 60


@pytest.fixture(scope="module")
def narrow_service(tmp_path_factory):
    settings = {"limit_waiting_appends": 2, "limit_mailbox_commands": 2}
    process = ServiceProcess(tmp_path_factory.mktemp("narrow"), **settings).start()
    yield process
    process.stop()
    assert process.complaints() == []


@pytest.fixture
def service(narrow_service):
    return narrow_service


async def upload(caller, number):
    async def pieces():
        yield executor_service_pb2.UploadRequest(data=json.dumps(f"{number:06}" * 20_000).encode())

    return await refusal_if_any(caller.executors.Upload(pieces()))


async def test_values_that_cannot_wait_are_refused_with_a_time_to_come_back(caller):
    refusals = await asyncio.gather(*[upload(caller, number) for number in range(TOGETHER)])
    refused = {number: refusal for number, refusal in enumerate(refusals) if refusal}
    assert 0 < len(refused) < TOGETHER
    assert {(each.code, each.reason) for each in refused.values()} == {("RESOURCE_EXHAUSTED", "QUEUE_FULL")}
    assert all(each.retry_after_s for each in refused.values())
    for number in refused:
        assert await upload(caller, number) is None


async def test_starts_that_come_together_all_have_their_turn(caller):
    await caller.register("note")
    ids = await asyncio.gather(*[caller.start(step("note")) for _ in range(3 * TOGETHER)])
    assert len(set(ids)) == 3 * TOGETHER


async def test_commands_that_cannot_wait_for_one_workflow_are_refused_and_leave_nothing(caller):
    await caller.register("note")
    workflow_id = await caller.start(open=True)
    refusals = []
    # On a busy machine the requests of one burst may come one by one.
    while not any(refusals) and len(refusals) < 10 * TOGETHER:
        calls = [caller.add(workflow_id, step("note", id=f"s{len(refusals) + n}")) for n in range(TOGETHER)]
        refusals += await asyncio.gather(*[refusal_if_any(call) for call in calls])
    refused = [refusal for refusal in refusals if refusal]
    assert {(each.code, each.reason) for each in refused} == {("RESOURCE_EXHAUSTED", "MAILBOX_FULL")}
    assert all(each.retry_after_s for each in refused)
    accepted = {f"s{number}" for number, refusal in enumerate(refusals) if refusal is None}
    assert set(await caller.steps(workflow_id)) == accepted
    assert accepted


async def test_chunks_that_find_the_log_busy_wait_and_their_executor_stays(caller, connect, narrow_service):
    app = podium.Executor("streaming", max_parallel=8)

    @app.tool(read_only=True)
    async def stream(number: int):
        """Stream a text, a chunk at a time."""
        for piece in range(200):
            yield f"{piece:06}"
            await asyncio.sleep(0)
        yield podium.Output(number)

    await connect(app)
    items = definition_pb2.ForEach(items_json=json.dumps(list(range(8))))
    workflow_id = await caller.start(step("stream", {"number": "${item}"}, for_each=items))
    ended = asyncio.ensure_future(caller.ended(workflow_id))
    refusals = []
    while not ended.done():
        refusals += await asyncio.gather(*[upload(caller, len(refusals) + number) for number in range(40)])
    assert (await ended).state == SUCCEEDED
    assert any(refusals), "the log was never too busy"
    assert [each.WhichOneof("payload") for each in await caller.history(workflow_id)].count("attempt_started") == 8
    assert narrow_service.complaints() == []


async def test_an_executor_that_is_held_back_delivers_all_of_its_output(caller, connect):
    app = podium.Executor("large", max_parallel=32)

    @app.tool(read_only=True)
    async def large(number: int) -> str:
        """Make a large text."""
        return f"{number:06}" * 20_000

    @app.tool(read_only=True)
    async def stream(number: int):
        """Stream a large text."""
        for piece in range(20):
            yield f"{piece:06}" * 1000
        yield podium.Output(number)

    await connect(app)
    items = definition_pb2.ForEach(items_json=json.dumps(list(range(12))))
    workflow_id = await caller.start(
        step("large", {"number": "${item}"}, for_each=items), step("stream", {"number": "${item}"}, for_each=items)
    )
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    steps = await caller.steps(workflow_id)
    assert [text[:6] for text in json.loads(steps["step_1"].output_json)] == [f"{number:06}" for number in range(12)]
    assert json.loads(steps["step_2"].output_json) == list(range(12))
