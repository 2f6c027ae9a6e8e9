"""Streamed output: durable before it is acknowledged, in order, bound to the result by its digest."""

import asyncio
import hashlib
import json

import pytest

import podium
from podium.v1 import definition_pb2, executor_service_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import payload
from tests.integration.rig.raw_executor import raw_executor, tool

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED
CHUNK_BYTES = 64 * 1024


async def chunks_of(caller, workflow_id):
    return [
        item.chunk async for message in caller.watch(workflow_id) for item in message.items if item.HasField("chunk")
    ]


@pytest.fixture
async def tools(connect):
    app = podium.Executor("streams")

    @app.tool(streams_output=True)
    async def words(count: int):
        """Stream words."""
        for number in range(count):
            yield f"word {number} "

    @app.tool(streams_output=True)
    def lines(count: int):
        """Stream lines from a thread."""
        for number in range(count):
            yield f"line {number}\n"

    @app.tool
    async def transcript(count: int):
        """Stream what it does beside its output."""
        for number in range(count):
            yield {"done": number}
        yield podium.Output({"count": count})

    @app.tool
    async def binary():
        """Stream bytes that are no text."""
        yield bytes(range(256))
        yield b"\xff" * CHUNK_BYTES * 2
        yield podium.Output("binary")

    @app.tool(streams_output=True)
    async def binary_output():
        """Stream bytes that are no text, as its output."""
        yield b"\xff\xfe"

    @app.tool(streams_output=True)
    async def split():
        """Stream a character in two pieces."""
        yield "ü".encode()[:1]
        yield "ü".encode()[1:]

    @app.tool(streams_output=True)
    async def much(size: int):
        """Stream a lot in one piece."""
        yield "m" * size

    await connect(app)


async def finished(caller, name, arguments):
    workflow_id = await caller.start(step(name, arguments))
    summary = await caller.ended(workflow_id)
    return summary, workflow_id, (await caller.steps(workflow_id))["step_1"]


@pytest.mark.parametrize(("name", "piece"), [("words", "word {} "), ("lines", "line {}\n")])
async def test_what_a_tool_streams_is_its_output(caller, tools, name, piece):
    summary, workflow_id, found = await finished(caller, name, {"count": 200})
    assert summary.state == SUCCEEDED
    pieces = [piece.format(number) for number in range(200)]
    assert json.loads(found.output_json) == "".join(pieces)
    chunks = await chunks_of(caller, workflow_id)
    assert [chunk.data.decode() for chunk in chunks] == pieces
    assert [chunk.sequence for chunk in chunks] == list(range(1, 201))
    succeeded = payload(await caller.history(workflow_id), "step_succeeded")
    assert succeeded.chunk_count == 200
    assert succeeded.chunks_digest == hashlib.sha256("".join(pieces).encode()).digest()


async def test_a_transcript_stands_beside_the_output(caller, tools):
    _, workflow_id, found = await finished(caller, "transcript", {"count": 3})
    assert json.loads(found.output_json) == {"count": 3}
    data = [chunk.data for chunk in await chunks_of(caller, workflow_id)]
    assert data == [b'{"done":0}\n', b'{"done":1}\n', b'{"done":2}\n']


async def test_bytes_that_are_no_text_are_kept_as_they_are(caller, tools):
    summary, workflow_id, found = await finished(caller, "binary", {})
    assert (summary.state, found.output_json) == (SUCCEEDED, '"binary"')
    chunks = await chunks_of(caller, workflow_id)
    assert b"".join(chunk.data for chunk in chunks) == bytes(range(256)) + b"\xff" * CHUNK_BYTES * 2
    assert max(len(chunk.data) for chunk in chunks) <= CHUNK_BYTES


async def test_bytes_that_are_no_text_cannot_be_the_output(caller, tools):
    _, _, found = await finished(caller, "binary_output", {})
    assert found.failure.reason == "INVALID_OUTPUT"
    assert "UTF-8" in found.failure.message


async def test_a_character_may_be_split_over_pieces(caller, tools):
    _, _, found = await finished(caller, "split", {})
    assert json.loads(found.output_json) == "ü"


async def test_streamed_output_over_the_inline_limit_is_stored_and_used_by_the_next_step(caller, tools, connect):
    app = podium.Executor("measure")

    @app.tool
    async def length(text: str) -> int:
        """Measure."""
        return len(text)

    await connect(app)
    size = 2_000_000
    workflow_id = await caller.start(step("much", {"size": size}), step("length", {"text": "${steps.step_1.output}"}))
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert (await caller.steps(workflow_id))["step_2"].output_json == str(size)


async def test_streamed_output_over_8_mib_fails_the_attempt(caller, tools):
    _, _, found = await finished(caller, "much", {"size": 8 * 1024 * 1024})
    assert found.failure.reason == "INVALID_OUTPUT"
    assert "8388608 bytes" in found.failure.message


async def test_chunks_are_acknowledged_and_seen_while_the_tool_runs(caller):
    async with raw_executor(caller, "stream") as executor:
        workflow_id = await caller.start(step("stream"))
        attempt = (await executor.work()).attempt
        watch = caller.watch(workflow_id)
        await watch.read()
        for number in range(1, 4):
            await executor.chunk(attempt, number, b"piece %d" % number)
            acknowledged = await executor.expect("chunks_acknowledged")
            assert (acknowledged.attempt, acknowledged.sequence) == (attempt, number)
            [item] = (await watch.read()).items
            assert (item.chunk.sequence, item.chunk.data) == (number, b"piece %d" % number)
        watch.cancel()
        await executor.succeed(attempt, None, chunk_count=3)
        assert (await executor.expect("outcome_acknowledged")).accepted


async def test_a_result_waits_until_its_chunks_are_durable(caller):
    async with raw_executor(caller, tool("stream", streams_output=True)) as executor:
        workflow_id = await caller.start(step("stream"))
        attempt = (await executor.work()).attempt
        frame = [("chunk", piece(attempt, number, b"x")) for number in range(1, 51)]
        await executor.send(*frame, ("result", result(attempt, 50)))
        assert (await executor.expect("chunks_acknowledged")).sequence == 50
        assert (await executor.expect("outcome_acknowledged")).accepted
    assert (await caller.steps(workflow_id))["step_1"].output_json == json.dumps("x" * 50)


def piece(attempt, sequence, data):
    return executor_service_pb2.AttemptChunk(attempt=attempt, sequence=sequence, data=data)


def result(attempt, count):
    return executor_service_pb2.AttemptResult(attempt=attempt, chunk_count=count)


async def test_a_chunk_that_comes_again_is_taken_once(caller):
    async with raw_executor(caller, tool("stream", streams_output=True)) as executor:
        workflow_id = await caller.start(step("stream"))
        attempt = (await executor.work()).attempt
        for number, data in ((1, b"a"), (2, b"b"), (1, b"A"), (2, b"B"), (3, b"c")):
            await executor.send(("chunk", piece(attempt, number, data)))
        await executor.send(("result", result(attempt, 3)))
        while (await executor.next())[0] != "outcome_acknowledged":
            pass
    assert (await caller.steps(workflow_id))["step_1"].output_json == '"abc"'


BROKEN = {
    "a gap between its chunks": ([(1, b"a"), (3, b"c")], 3, "chunk 3 came after chunk 1"),
    "fewer chunks than its result says": ([(1, b"a")], 2, "2 chunks, 1 were sent"),
    "a chunk that is too large": ([(1, b"x" * (CHUNK_BYTES + 1))], 1, "larger than 65536 bytes"),
}


@pytest.mark.parametrize(("chunks", "count", "words"), BROKEN.values(), ids=BROKEN)
async def test_an_attempt_fails_for(caller, chunks, count, words):
    async with raw_executor(caller, "stream") as executor:
        workflow_id = await caller.start(step("stream"))
        attempt = (await executor.work()).attempt
        for number, data in chunks:
            await executor.send(("chunk", piece(attempt, number, data)))
        await executor.send(("result", result(attempt, count)))
        await caller.ended(workflow_id)
    failure = (await caller.steps(workflow_id))["step_1"].failure
    assert failure.reason == "INVALID_OUTPUT"
    assert words in failure.message


async def test_two_attempts_of_a_step_have_transcripts_of_their_own(caller):
    retry = definition_pb2.RetryPolicy(initial_backoff_ms=1)
    async with raw_executor(caller, tool("stream", read_only=True, streams_output=True)) as executor:
        workflow_id = await caller.start(step("stream", retry=retry))
        first = (await executor.work()).attempt
        await executor.chunk(first, 1, b"lost")
        await executor.expect("chunks_acknowledged")
        await executor.fail(first, retryable=True)
        await executor.expect("outcome_acknowledged")
        second = (await executor.work()).attempt
        await executor.chunk(second, 1, b"kept")
        await executor.expect("chunks_acknowledged")
        await executor.succeed(second, None, chunk_count=1)
        await executor.expect("outcome_acknowledged")
    assert (await caller.steps(workflow_id))["step_1"].output_json == '"kept"'
    assert [(chunk.attempt, chunk.data) for chunk in await chunks_of(caller, workflow_id)] == [
        (1, b"lost"),
        (2, b"kept"),
    ]


async def test_a_tool_that_streams_faster_than_the_service_writes_is_slowed_down(caller, connect):
    app = podium.Executor("fast")
    made = 0

    @app.tool
    async def flood(count: int):
        """Stream a lot."""
        nonlocal made
        for _ in range(count):
            made += 1
            yield b"f" * CHUNK_BYTES
        yield podium.Output(count)

    await connect(app)
    workflow_id = await caller.start(step("flood", {"count": 300}))
    async with asyncio.timeout(60):
        assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert made == 300
    assert payload(await caller.history(workflow_id), "step_succeeded").chunk_count == 300
