"""What is over a limit is refused with a clear error before anything is recorded; what is just within it works."""

import json

import grpc
import pytest

from podium.v1 import (
    definition_pb2,
    event_service_pb2,
    executor_service_pb2,
    tool_service_pb2,
    workflow_service_pb2,
)
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import tool
from tests.integration.rig.refusal import invalid, refusal_of

PAYLOAD_BYTES = 8 * 1024 * 1024
DEPTH = 64
STEPS = 100_000
REQUEST_STEPS = 10_000
ELEMENTS = 250_000
CALLS = 1_000
NAME = 256
EXECUTOR = 128
MIB = 1024 * 1024
MESSAGE_BYTES = PAYLOAD_BYTES + MIB // 4
"""What the service's messages may hold."""
LARGE_EVENTS = 7


def nested(depth):
    """A number inside of so many objects."""
    return '{"a":' * depth + "1" + "}" * depth


def text_of(size):
    """JSON of exactly so many bytes: an object with one member."""
    return json.dumps({"a": "x" * (size - len('{"a": ""}'))})


@pytest.fixture
async def ana(caller):
    await caller.register("note")
    return caller


@pytest.mark.parametrize("depth", [DEPTH + 1, 5000])
async def test_json_that_is_nested_too_deeply_is_refused_wherever_it_comes_from(ana, depth):
    deep = nested(depth)
    call = tool_service_pb2.ToolCall(tool="note", arguments_json=deep)
    submitted = step("note")
    submitted.arguments_json = deep
    literal = step("note")
    literal.arguments_json = ""
    literal.arguments.literal_json = deep
    async with ana.recording_nothing():
        refusals = [
            await invalid(ana.start(step("note"), input_json=deep)),
            await invalid(ana.start(submitted)),
            await invalid(ana.start(literal)),
            await invalid(ana.tools.CallTool(tool_service_pb2.CallToolRequest(call=call))),
            await invalid(ana.tools.CallToolBatch(tool_service_pb2.CallToolBatchRequest(calls=[call]))),
        ]
    assert [sorted(each.fields) for each in refusals] == [
        ["input_json"],
        ["steps[0].arguments_json"],
        ["steps[0].arguments"],
        ["call.arguments"],
        ["calls[0].arguments"],
    ]


async def test_json_of_just_the_depth_that_is_allowed_is_accepted(ana):
    deep = nested(DEPTH)
    submitted = step("note")
    submitted.arguments_json = deep
    assert await ana.start(submitted, input_json=deep)


async def test_a_value_over_8_mib_is_refused_wherever_it_comes_from(ana):
    large = text_of(PAYLOAD_BYTES + 1)
    submitted = step("note")
    submitted.arguments_json = large
    call = tool_service_pb2.ToolCall(tool="note", arguments_json=large)

    async def pieces():
        for start in range(0, len(large), 1 << 20):
            yield executor_service_pb2.UploadRequest(data=large[start : start + (1 << 20)].encode())

    async with ana.recording_nothing():
        refusals = [
            await invalid(ana.start(step("note"), input_json=large)),
            await invalid(ana.start(submitted)),
            await invalid(ana.tools.CallTool(tool_service_pb2.CallToolRequest(call=call))),
            await invalid(ana.executors.Upload(pieces())),
        ]
    assert [sorted(each.fields) for each in refusals] == [
        ["input_json"],
        ["steps[0].arguments_json"],
        ["call.arguments"],
        ["data"],
    ]
    assert all(str(PAYLOAD_BYTES) in each.message for each in refusals)


@pytest.mark.both_databases
async def test_a_value_of_exactly_8_mib_is_accepted(ana):
    assert await ana.start(step("note", {"in": "${input}"}), input_json=text_of(PAYLOAD_BYTES))


async def test_a_message_that_no_payload_can_need_is_refused_by_the_transport(ana):
    async with ana.recording_nothing():
        refusal = await refusal_of(ana.start(step("note"), input_json=text_of(PAYLOAD_BYTES + (1 << 20))))
    assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED.name


async def test_an_upload_that_is_no_json_is_refused(ana):
    async def pieces():
        yield executor_service_pb2.UploadRequest(data=b'{"a": ')
        yield executor_service_pb2.UploadRequest(data=b"1")

    assert (await invalid(ana.executors.Upload(pieces()))).fields == {"data"}


async def test_a_condition_over_4_kib_is_refused(ana):
    padding = " " * (4096 - len("1 == 1"))
    assert await ana.start(step("note", condition="1 == 1" + padding))
    async with ana.recording_nothing():
        refusal = await invalid(ana.start(step("note", condition="1 == 1" + padding + " ")))
    assert refusal.violations["steps[0].condition"] == "is larger than 4096 bytes"


async def test_more_steps_than_a_workflow_may_have_are_refused(ana):
    full, one = [step("note")] * STEPS, step("note")
    workflow_id = await ana.start(one, open=True)
    async with ana.recording_nothing():
        refusals = [
            await invalid(ana.start(*full, one)),
            await invalid(ana.add(workflow_id, *full)),
        ]
    assert {each.reason for each in refusals} == {"TOO_MANY_STEPS"}
    assert all(str(STEPS) in each.message for each in refusals)


async def test_more_steps_than_a_request_may_have_are_refused(ana):
    many, one = [step("note")] * REQUEST_STEPS, step("note")
    workflow_id = await ana.start(one, open=True)
    async with ana.recording_nothing():
        refusals = [await invalid(ana.start(*many, one)), await invalid(ana.add(workflow_id, *many, one))]
    assert {each.reason for each in refusals} == {"TOO_MANY_STEPS"}
    assert all("add the others by AddSteps" in each.violations["steps"] for each in refusals)
    await ana.add(workflow_id, *many)
    await ana.cancel(workflow_id)


async def test_more_elements_than_a_value_may_have_are_refused(ana):
    def listed(count):
        return json.dumps({"a": [1] * (count - 1)})

    async with ana.recording_nothing():
        refusal = await invalid(ana.start(step("note"), input_json=listed(ELEMENTS + 1)))
    assert refusal.violations["input_json"] == f"has more than {ELEMENTS} members and elements: split it"
    assert await ana.start(step("note", {"in": "${input}"}), input_json=listed(ELEMENTS))


async def test_more_calls_than_a_batch_may_have_are_refused(ana):
    def batch(count):
        calls = [tool_service_pb2.ToolCall(tool="note")] * count
        return ana.tools.CallToolBatch(tool_service_pb2.CallToolBatchRequest(calls=calls, timeout_ms=100))

    async with ana.recording_nothing():
        refusal = await invalid(batch(CALLS + 1))
    assert (refusal.reason, refusal.fields) == ("TOO_MANY_CALLS", {"calls"})
    assert len((await batch(CALLS)).outcomes) == CALLS


async def test_a_request_id_over_256_characters_is_refused(ana):
    call = tool_service_pb2.ToolCall(tool="note")
    workflow_id = await ana.start(step("note"), request_id="r" * 256, open=True)
    too_long = {"request_id": "r" * 257}
    async with ana.recording_nothing():
        refusals = [
            await invalid(ana.start(step("note"), **too_long)),
            await invalid(ana.tools.CallTool(tool_service_pb2.CallToolRequest(call=call, **too_long))),
            await invalid(ana.tools.CallToolBatch(tool_service_pb2.CallToolBatchRequest(calls=[call], **too_long))),
            await invalid(ana.add(workflow_id, step("note"), **too_long)),
            await invalid(ana.finish(workflow_id, **too_long)),
            await invalid(ana.cancel(workflow_id, **too_long)),
        ]
    assert all(each.fields == {"request_id"} for each in refusals)


async def test_times_that_no_calendar_has_do_not_break_a_workflow(ana):
    forever = 2**64 - 1
    workflow_id = await ana.start(step("note"), timeout_ms=forever, cancel_grace_ms=forever)
    await ana.cancel(workflow_id)
    assert (await ana.ended(workflow_id)).ended_at_us


async def test_texts_that_are_recorded_have_a_length(ana):
    reasons = {"retry_on": ["R" * 65]}
    submitted = workflow_service_pb2.StartWorkflowRequest(steps=[step("note")], name="n" * (NAME + 1))
    async with ana.recording_nothing():
        refusals = [
            await invalid(ana.start(step("note"), name="n" * (NAME + 1))),
            await invalid(ana.workflows.RunWorkflow(workflow_service_pb2.RunWorkflowRequest(workflow=submitted))),
            await invalid(ana.start(step("note"), narrowed=True, permissions=["p" * (NAME + 1)])),
            await invalid(ana.start(step("note"), narrowed=True, permissions=["p"] * 101)),
            await invalid(ana.start(step("note", retry=definition_pb2.RetryPolicy(**reasons)))),
            await _refused_hello(ana, executor="e" * (EXECUTOR + 1)),
            await _refused_hello(ana, executor="e", instance_id="i" * (EXECUTOR + 1)),
        ]
    assert [sorted(each.fields) for each in refusals] == [
        ["name"],
        ["workflow.name"],
        ["permissions[0]"],
        ["permissions"],
        ["steps[0].retry.retry_on[0]"],
        ["hello.executor"],
        ["hello.instance_id"],
    ]
    assert await ana.start(step("note"), name="n" * NAME)


async def _refused_hello(caller, **fields):
    hello = executor_service_pb2.Hello(tools=[tool("note")], max_attempts=1, **fields)
    frame = executor_service_pb2.SessionRequest(items=[executor_service_pb2.ExecutorItem(hello=hello)])
    return await invalid(caller.executors.Session(iter([frame])))


async def test_steps_that_would_not_fit_a_message_once_they_are_recorded_are_refused(ana):
    name = "t" * 64
    await ana.register(name)
    # Within a message; with the ids that they are given they are not.
    steps = [step(name, retry=definition_pb2.RetryPolicy(retry_on=["R" * 63] * 11 + ["R" * 58]))] * REQUEST_STEPS
    async with ana.recording_nothing():
        refusal = await invalid(ana.start(*steps))
    assert (refusal.reason, refusal.fields) == ("STEPS_TOO_LARGE", {"steps"})


@pytest.mark.both_databases
async def test_large_events_reach_every_reader_in_several_frames(ana):
    large = json.dumps({"a": "x" * (MIB * 3 // 2)})
    ids = []
    for _ in range(LARGE_EVENTS):
        submitted = step("note")
        submitted.arguments_json = large
        ids.append(await ana.start(submitted, open=True))
    assert sum(event.ByteSize() for event in await ana.log()) > MESSAGE_BYTES, "one frame could not hold them"
    started = [event.stream_id for event in await ana.log() if event.HasField("workflow_started")]
    followed = []
    subscription, caught_up = ana.events.Subscribe(event_service_pb2.SubscribeRequest()), False
    while not caught_up:
        frame = await subscription.read()
        followed += [event.stream_id for event in frame.events if event.HasField("workflow_started")]
        caught_up = frame.caught_up
    subscription.cancel()
    assert started == followed == ids
    grown = await ana.start(step("note"), open=True)
    for _ in range(LARGE_EVENTS):
        submitted = step("note")
        submitted.arguments_json = large
        await ana.add(grown, submitted)
    history = await ana.history(grown)
    await ana.cancel(grown)
    watched = [item.event async for frame in ana.watch(grown) for item in frame.items]
    assert watched[: len(history)] == history
    assert sum(event.ByteSize() for event in history) > MESSAGE_BYTES


async def test_tools_with_large_schemas_are_listed_in_several_pages(ana):
    large = {"type": "object", "description": "d" * 64_000}
    names = [f"large{number:03}" for number in range(150)]
    for name in names:
        await ana.register(name, large)
    listed, request = [], tool_service_pb2.ListToolsRequest(page_size=1000)
    while not listed or request.page_token:
        page = await ana.tools.ListTools(request)
        assert page.ByteSize() < MESSAGE_BYTES
        listed += [each.definition.name for each in page.tools]
        request.page_token = page.next_page_token
    assert listed == [*names, "note"]
