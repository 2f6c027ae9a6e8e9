"""What a tool gives back is of its schema, cleaned and without secrets before any of it is recorded."""

import json

import pytest

from podium.v1 import executor_service_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import invalid, refusal_of
from tests.integration.rig.vault import files_with

pytestmark = pytest.mark.both_databases

LARGE = "z" * 100_000
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
SCHEMA = {
    "type": ["object", "string"],
    "properties": {
        "pin": {"type": "integer", "x-podium-redact": True},
        "body": {"type": "string", "x-podium-sanitize": {"html": {}}},
        "count": {"type": "integer"},
    },
}
GIVEN = {"pin": 271828182, "body": "<i>y</i><script>z</script>", "note": f"key {AWS}"}
RECORDED = {"pin": "[redacted]", "body": "<i>y</i>", "note": "key [redacted:aws-key]"}
NAMES = ["cleaned:output.body", "redacted:output.pin", "redacted:aws-key"]
FETCH = tool("fetch", output_schema_json=json.dumps(SCHEMA))


async def run(caller, executor, give, name="fetch"):
    """Runs one step whose attempt `give` ends, and returns the step and its history."""
    workflow_id = await caller.start(step(name))
    await give((await executor.work()).attempt)
    await caller.ended(workflow_id)
    assert (await caller.replay(workflow_id)).matches
    return (await caller.steps(workflow_id))["step_1"], await caller.history(workflow_id)


def succeeded(history):
    [event] = [event.step_succeeded for event in history if event.HasField("step_succeeded")]
    return event


async def upload(caller, attempt, output):
    async def pieces():
        yield executor_service_pb2.UploadRequest(data=json.dumps(output).encode(), attempt=attempt)

    return (await caller.executors.Upload(pieces())).payload


@pytest.mark.parametrize("large", [False, True], ids=["inline", "uploaded"])
async def test_an_output_is_recorded_as_its_schema_and_the_shapes_of_secrets_make_it(own_service, admit, large):
    service = own_service().start()
    caller = admit(to=service)
    more = {"more": LARGE} if large else {}
    async with raw_executor(caller, FETCH) as executor:

        async def give(attempt):
            output = {**GIVEN, **more}
            if large:
                output = value_pb2.Value(payload=await upload(caller, attempt, output))
            await executor.succeed(attempt, output)

        told, history = await run(caller, executor, give)
    assert json.loads(told.output_json) == {**RECORDED, **more}
    assert list(succeeded(history).sanitized) == NAMES
    service.stop()
    assert files_with(service.directory, AWS.encode(), b"271828182", b"<script>") == []


async def test_an_output_that_is_not_of_the_schema_fails_by_its_place_and_nothing_of_it_is_kept(own_service, admit):
    service = own_service().start()
    caller = admit(to=service)
    async with raw_executor(caller, FETCH) as executor:
        told, _ = await run(caller, executor, lambda attempt: executor.succeed(attempt, {"count": "hunter2-secret"}))
        assert (told.failure.reason, told.failure.message) == (
            "INVALID_OUTPUT",
            "output.count must be of type integer",
        )
        await caller.start(step("fetch"))
        attempt = (await executor.work()).attempt
        refused = await invalid(upload(caller, attempt, {"count": "hunter2-secret", "more": LARGE}))
        assert "output.count must be of type integer" in str(refused)
    service.stop()
    assert files_with(service.directory, b"hunter2") == []


async def test_an_upload_for_another_attempt_is_looked_at_again(caller):
    async with raw_executor(caller, FETCH, "plain") as executor:
        plain = await caller.start(step("plain"))
        lent = await upload(caller, (await executor.work()).attempt, {**GIVEN, "more": LARGE})

        async def give(attempt):
            await executor.succeed(attempt, value_pb2.Value(payload=lent))

        told, history = await run(caller, executor, give)
        assert json.loads(told.output_json)["pin"] == "[redacted]"
        assert "redacted:output.pin" in succeeded(history).sanitized
        await caller.cancel(plain)


async def test_an_upload_names_an_attempt_that_runs(caller):
    async with raw_executor(caller, FETCH) as executor:
        assert (await invalid(upload(caller, None, {}))).reason == "ATTEMPT_MISSING"
        workflow_id = await caller.start(step("fetch"))
        attempt = (await executor.work()).attempt
        await executor.succeed(attempt, {})
        await caller.ended(workflow_id)
        assert (await refusal_of(upload(caller, attempt, {}))).reason == "ATTEMPT_NOT_RUNNING"


async def test_a_secret_across_chunks_failure_and_progress_is_not_told(caller):
    async with raw_executor(caller, "plain") as executor:
        workflow_id = await caller.start(step("plain"))
        attempt = (await executor.work()).attempt
        progress = executor_service_pb2.AttemptProgressed(attempt=attempt, fraction=0.5, message=f"with {AWS}")
        watch = caller.watch(workflow_id)
        frames = aiter(watch)
        await anext(frames)
        await executor.send(("progress", progress))
        # It is kept nowhere: who is still reading the log when the workflow has ended is not told of it.
        [told] = [item.progress.message for item in (await anext(frames)).items]
        await executor.chunk(attempt, 1, f"key {AWS[:9]}".encode())
        await executor.chunk(attempt, 2, f"{AWS[9:]} end".encode())
        assert (await executor.expect("chunks_acknowledged")).sequence == 2
        await executor.fail(attempt, AWS, message=f"failed with {AWS}", field=AWS)
        items = [item async for frame in frames for item in frame.items]
    chunks = [item.chunk.data for item in items if item.HasField("chunk")]
    assert chunks == [b"key [redacted:aws-key]", b" end"]
    assert told == "with [redacted:aws-key]"
    failure = (await caller.steps(workflow_id))["step_1"].failure
    assert (failure.reason, failure.message, failure.field) == (
        "INVALID_REASON",
        "[redacted:aws-key]: failed with [redacted:aws-key]",
        "[redacted:aws-key]",
    )


@pytest.mark.parametrize("streams", [True, False], ids=["chunks are the output", "beside the output"])
async def test_what_is_held_back_is_recorded_with_the_result(caller, streams):
    stream = tool("stream", streams_output=streams)
    async with raw_executor(caller, stream) as executor:

        async def give(attempt):
            await executor.chunk(attempt, 1, b"hello")
            await executor.chunk(attempt, 2, AWS.encode())
            assert (await executor.expect("chunks_acknowledged")).sequence == 1
            await executor.succeed(attempt, None if streams else "done", chunk_count=2)

        told, history = await run(caller, executor, give, "stream")
    assert json.loads(told.output_json) == ("hello[redacted:aws-key]" if streams else "done")
    event = succeeded(history)
    assert event.chunk_count == 2
    assert list(event.sanitized) == ["redacted:aws-key"]


async def test_what_was_held_back_is_sent_again_after_a_broken_connection(caller):
    async with raw_executor(caller, "plain") as executor:
        workflow_id = await caller.start(step("plain"))
        attempt = (await executor.work()).attempt
        await executor.chunk(attempt, 1, b"hello ")
        await executor.chunk(attempt, 2, AWS[:9].encode())
        assert (await executor.expect("chunks_acknowledged")).sequence == 1
    held = executor_service_pb2.HeldAttempt(attempt=attempt, acknowledged_chunk=1)
    async with raw_executor(caller, "plain", holding=[held]) as executor:
        assert executor.held[workflow_id, "step_1"].resume_after_chunk == 1
        await executor.chunk(attempt, 2, AWS[:9].encode())
        await executor.chunk(attempt, 3, AWS[9:].encode() + b" end")
        await executor.succeed(attempt, "done", chunk_count=3)
        await caller.ended(workflow_id)
    [event] = [e.step_succeeded for e in await caller.history(workflow_id) if e.HasField("step_succeeded")]
    assert list(event.sanitized) == ["redacted:aws-key"]


async def test_the_switch_leaves_what_only_looks_like_a_secret(own_service, admit):
    service = own_service(redact_outputs="false").start()
    caller = admit(to=service)
    async with raw_executor(caller, FETCH) as executor:
        told, history = await run(caller, executor, lambda attempt: executor.succeed(attempt, GIVEN))
    assert json.loads(told.output_json) == {**RECORDED, "note": f"key {AWS}"}
    assert list(succeeded(history).sanitized) == NAMES[:2]
