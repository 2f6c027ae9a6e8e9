"""Watching a workflow: every event once, in order, from any cursor, however slow or often interrupted it is."""

import asyncio
import json

import grpc.aio
import pytest

import podium
from podium.v1 import value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import check_versions, kind, kinds
from tests.integration.rig.toolbox import toolbox

PIECES = 40


@pytest.fixture
async def tools(connect):
    """A toolbox with a tool that streams."""
    app = toolbox(max_parallel=32)

    @app.tool
    async def stream(pieces: int, size: int = 10):
        """Stream."""
        for number in range(pieces):
            yield f"{number:04}".ljust(size, ".")
        yield podium.Output(pieces)

    await connect(app)
    return app


def told(messages):
    """What messages tell, without progress: events by version, chunks by their place."""
    items = [item for message in messages for item in message.items]
    return [
        ("event", item.event.stream_version, kind(item.event))
        if item.HasField("event")
        else ("chunk", item.chunk.step_id, item.chunk.attempt, item.chunk.sequence, item.chunk.data)
        for item in items
        if not item.HasField("progress")
    ]


async def all_of(caller, workflow_id, cursor="", **fields):
    return [message async for message in caller.watch(workflow_id, cursor=cursor, **fields)]


async def streaming(caller, pieces=PIECES, **fields):
    """Starts a workflow with two streams side by side and a step behind them."""
    return await caller.start(
        step("stream", {"pieces": pieces}),
        step("stream", {"pieces": pieces}),
        step("echo", {"value": 1}, depends_on=["step_1", "step_2"]),
        **fields,
    )


def check_streams(found, pieces=PIECES):
    for name in ("step_1", "step_2"):
        sequence = [each[3] for each in found if each[0] == "chunk" and each[1] == name]
        assert sequence == list(range(1, pieces + 1))


async def test_a_watcher_from_the_start_sees_every_event_once_and_in_order(caller, tools):
    workflow_id = await streaming(caller)
    found = told(await all_of(caller, workflow_id))
    versions = [each[1] for each in found if each[0] == "event"]
    assert versions == list(range(1, len(versions) + 1))
    assert found[-1][2] == "workflow_succeeded", "it ends when the workflow does"
    check_streams(found)


async def test_an_ended_workflow_is_told_again_and_ends(caller, tools):
    workflow_id = await streaming(caller)
    live = told(await all_of(caller, workflow_id))
    again = told(await all_of(caller, workflow_id))
    assert sorted(again) == sorted(live)
    events = await caller.history(workflow_id)
    check_versions(events)
    assert [each[2] for each in again if each[0] == "event"] == kinds(events)
    check_streams(again)


async def test_a_chunk_is_told_before_the_result_that_it_belongs_to(caller, tools):
    workflow_id = await streaming(caller)
    for messages in (await all_of(caller, workflow_id), await all_of(caller, workflow_id)):
        ended, started = set(), set()
        for item in (item for message in messages for item in message.items):
            if item.event.HasField("step_succeeded"):
                ended.add(item.event.step_succeeded.step_id)
            elif item.event.HasField("attempt_started"):
                started.add(item.event.attempt_started.step_id)
            elif item.HasField("chunk"):
                assert item.chunk.step_id in started - ended


async def test_whoever_wants_no_chunks_gets_none(caller, tools):
    workflow_id = await streaming(caller)
    found = told(await all_of(caller, workflow_id, without_chunks=True))
    assert {each[0] for each in found} == {"event"}
    assert len(found) == len(await caller.history(workflow_id))


async def test_it_resumes_from_every_message_of_a_live_stream_without_a_loss(caller, tools):
    workflow_id = await caller.start(step("stream", {"pieces": 20}), step("echo", depends_on=["step_1"]))
    messages = await all_of(caller, workflow_id)
    whole = told(messages)
    for count, message in enumerate(messages, 1):
        rest = told(await all_of(caller, workflow_id, message.cursor))
        assert sorted(told(messages[:count]) + rest) == sorted(whole)


async def test_it_resumes_from_every_message_of_a_replayed_stream_without_a_loss(caller, tools):
    workflow_id = await streaming(caller, pieces=150)
    await caller.ended(workflow_id)
    messages = await all_of(caller, workflow_id)
    assert len(messages) > 2, "it came in several pages"
    whole = told(messages)
    check_streams(whole, 150)
    for count, message in enumerate(messages, 1):
        rest = told(await all_of(caller, workflow_id, message.cursor))
        assert told(messages[:count]) + rest == whole


async def test_it_is_cut_after_every_message_and_goes_on_while_the_workflow_runs(caller, tools):
    workflow_id = await streaming(caller)
    found, cursor = [], ""
    while True:
        stream = caller.watch(workflow_id, cursor=cursor)
        message = await stream.read()
        stream.cancel()
        found += told([message])
        cursor = message.cursor
        if found[-1][-1] == "workflow_succeeded":
            break
    versions = [each[1] for each in found if each[0] == "event"]
    assert versions == list(range(1, len(versions) + 1))
    check_streams(found)


async def test_a_cursor_at_the_very_end_ends_at_once(caller, tools):
    workflow_id = await caller.start(step("echo"))
    last = (await all_of(caller, workflow_id))[-1].cursor
    assert told(await all_of(caller, workflow_id, last)) == []


async def test_a_watcher_that_does_not_read_for_long_loses_nothing(caller, tools):
    count = 1500
    workflow_id = await caller.start(
        *[step("echo", {"value": n}) for n in range(count)], step("stream", {"pieces": 500, "size": 20_000})
    )
    slow = caller.watch(workflow_id)
    messages = [await slow.read()]
    # Another watches to the end; only then the slow one goes on.
    await caller.ended(workflow_id)
    while (message := await slow.read()) is not grpc.aio.EOF:
        messages.append(message)
    found = told(messages)
    versions = [each[1] for each in found if each[0] == "event"]
    assert versions == list(range(1, len(versions) + 1))
    assert [each[3] for each in found if each[0] == "chunk"] == list(range(1, 501))
    assert found[-1][2] == "workflow_succeeded"


async def test_many_watchers_see_the_same(caller, tools):
    workflow_id = await streaming(caller)
    seen = await asyncio.gather(*[all_of(caller, workflow_id) for _ in range(20)])
    expected = sorted(told(await all_of(caller, workflow_id)))
    assert all(sorted(told(messages)) == expected for messages in seen)


async def test_a_large_output_is_named_and_not_told(caller, tools):
    workflow_id = await caller.start(step("echo", {"value": "${input}"}), input_json=json.dumps("x" * 300_000))
    messages = await all_of(caller, workflow_id)
    assert sum(message.ByteSize() for message in messages) < 10_000


async def test_what_is_read_right_after_it_was_acknowledged_is_never_stale(caller, tools):
    for number in range(20):
        workflow_id = await caller.start(step("echo", {"value": number}), open=True)
        summary = await caller.get(workflow_id)
        assert summary.stream_version >= 2
        await caller.add(workflow_id, step("echo"))
        assert "step_2" in await caller.steps(workflow_id)
        await caller.cancel(workflow_id)
        assert (await caller.get(workflow_id)).state != value_pb2.WORKFLOW_STATE_RUNNING
