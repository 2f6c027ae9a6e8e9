"""Reading and following the log: complete, in order, once; from any cursor; filtered without a gap."""

import asyncio

import grpc.aio
import pytest

from podium.v1 import event_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import kind, kinds
from tests.integration.rig.toolbox import toolbox

BEFORE, DURING = 20, 30


@pytest.fixture
async def tools(connect):
    app = toolbox(max_parallel=32)
    await connect(app)
    return app


def subscribe(caller, **fields):
    return caller.events.Subscribe(event_service_pb2.SubscribeRequest(**fields), timeout=None)


async def until(stream, done):
    """Reads a subscription until `done` says so of all events so far; returns its messages and closes it."""
    messages = []
    async with asyncio.timeout(30):
        while True:
            message = await stream.read()
            assert message is not grpc.aio.EOF
            messages.append(message)
            if done([event for each in messages for event in each.events]):
                stream.cancel()
                return messages


def endings(count):
    return lambda events: kinds(events).count("workflow_succeeded") == count


def all_events(messages):
    return [event for message in messages for event in message.events]


async def run(caller, count):
    ids = await asyncio.gather(*[caller.start(step("echo", {"value": n})) for n in range(count)])
    await asyncio.gather(*[caller.ended(each) for each in ids])
    return ids


async def test_a_subscription_catches_up_and_follows_without_a_gap_or_a_repetition(caller, tools):
    await run(caller, BEFORE)
    following = asyncio.create_task(until(subscribe(caller), endings(BEFORE + DURING)))
    await run(caller, DURING)
    messages = await following
    assert all_events(messages) == await caller.log()
    assert messages[-1].caught_up
    caught_up = [message.caught_up for message in messages]
    assert caught_up == sorted(caught_up), "once caught up, always"


async def test_a_subscription_resumes_after_every_message(caller, tools):
    await run(caller, BEFORE)
    following = asyncio.create_task(until(subscribe(caller), endings(BEFORE + 3)))
    await run(caller, 3)
    messages = await following
    whole = all_events(messages)
    for count, message in enumerate(messages[:-1], 1):
        rest = all_events(await until(subscribe(caller, cursor=message.cursor), endings_after(messages[:count], whole)))
        assert all_events(messages[:count]) + rest == whole


def endings_after(seen, whole):
    left = len(whole) - len(all_events(seen))
    return lambda events: len(events) == left


async def test_a_subscription_may_begin_before_there_is_anything(caller, tools):
    fresh = subscribe(caller, types=["workflow_succeeded"])
    first = await fresh.read()
    assert (list(first.events), first.caught_up) == ([], True)
    [workflow_id] = await run(caller, 1)
    [event] = all_events(await until(fresh, endings(1)))
    assert event.stream_id == workflow_id


async def test_a_filter_by_type_gives_those_types_alone(caller, tools):
    await run(caller, 5)
    wanted = ["attempt_started", "workflow_succeeded"]
    found = all_events(await until(subscribe(caller, types=wanted), endings(5)))
    assert found == [event for event in await caller.log() if kind(event) in wanted]


async def test_a_filter_by_stream_gives_that_stream_alone(caller, tools):
    ids = await run(caller, 5)
    found = all_events(await until(subscribe(caller, stream_prefix=ids[3]), endings(1)))
    assert found == await caller.history(ids[3])
    prefixed = subscribe(caller, stream_prefix="tool:")
    found = all_events(await until(prefixed, lambda events: len(events) == len(tools.tools)))
    assert {event.stream_id for event in found} == {f"tool:{name}" for name in tools.tools}


async def test_a_filtered_subscription_that_matches_nothing_still_says_how_far_it_is(caller, tools):
    await run(caller, BEFORE)
    stream = subscribe(caller, types=["workflow_failed"])
    message = await stream.read()
    stream.cancel()
    assert message.caught_up
    position = int(message.cursor.partition(":")[2])
    assert position >= (await caller.log())[-1].position


async def test_a_follower_that_does_not_read_for_long_loses_nothing(caller, tools):
    slow = subscribe(caller)
    first = await slow.read()
    await asyncio.gather(*[run(caller, 50) for _ in range(8)])
    whole = await caller.log()
    assert all_events([first, *await until(slow, endings_after([first], whole))]) == whole


async def test_the_whole_log_is_read_in_order_and_in_parts(caller, tools):
    await run(caller, 120)
    whole = await caller.log()
    assert len(whole) > 500, "more than one message holds"
    assert [event.tenant_sequence for event in whole] == list(range(1, len(whole) + 1))
    assert [event.position for event in whole] == sorted({event.position for event in whole})
    parts, cursor = [], ""
    while True:
        frames = caller.events.ReadAll(event_service_pb2.ReadAllRequest(cursor=cursor, limit=77))
        part = [frame async for frame in frames]
        if not part:
            break
        parts += [event for frame in part for event in frame.events]
        cursor = part[-1].cursor
    assert parts == whole


async def test_a_stream_is_read_from_any_version_and_to_any_length(caller, tools):
    [workflow_id] = await run(caller, 1)
    whole = await caller.history(workflow_id)
    for after in range(len(whole) + 2):
        request = event_service_pb2.ReadStreamRequest(stream_id=workflow_id, after_version=after, limit=2)
        found = [event async for frame in caller.events.ReadStream(request) for event in frame.events]
        assert found == whole[after : after + 2]


async def test_an_unknown_stream_is_empty(caller):
    assert await caller.history("wf_nowhere") == []


async def test_an_event_says_who_caused_it_and_what_followed_by_itself(caller, tools):
    workflow_id = await caller.start(step("echo"), request_id="r-1")
    await caller.ended(workflow_id)
    events = await caller.history(workflow_id)
    by_caller = {"workflow_started", "steps_added"}
    for event in events:
        assert (event.tenant, event.stream_id, event.shard) == (events[0].tenant, workflow_id, 0)
        assert event.type == event.DESCRIPTOR.fields_by_name[kind(event)].number
        assert (event.request_id == "r-1") == (kind(event) in by_caller)
        # A result is told by the executor; what the service concludes has nobody behind it.
        assert event.HasField("principal") == (kind(event) in by_caller | {"step_succeeded"})
