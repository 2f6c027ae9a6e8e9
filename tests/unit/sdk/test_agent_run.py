"""An agent's run, against a peer that speaks the protocol."""

import asyncio
import json
from types import SimpleNamespace

import pytest

import podium
from podium.v1 import definition_pb2, events_pb2, tool_service_pb2, workflow_service_pb2
from tests.unit.sdk.workflow_peer import (
    denied,
    fails,
    hangs,
    limited,
    running_workflow_peer,
    succeeds,
    succeeds_unreadably,
    succeeds_with_a_payload,
)


@pytest.fixture
async def peer():
    async with running_workflow_peer(
        find_invoice=succeeds({"id": "i1"}),
        greet=succeeds("hello"),
        refund=denied("refund", "financial_operations"),
        delete=denied("delete", rule="never-delete"),
        broken=fails("ValueError: no such invoice"),
        busy=limited,
        report=succeeds_with_a_payload(["large"]),
        slow=hangs,
        secret=succeeds_unreadably,
    ) as running:
        yield running


@pytest.fixture
async def client(peer):
    async with podium.connect(peer.address, "t") as connected:
        yield connected


def tool_use(call_id, name, **arguments):
    """As the Anthropic SDK gives it: objects."""
    return SimpleNamespace(type="tool_use", id=call_id, name=name, input=arguments)


def message(*blocks):
    return SimpleNamespace(role="assistant", stop_reason="tool_use", content=list(blocks))


def plain(*names):
    return [{"id": f"c{number}", "name": name, "arguments": {}} for number, name in enumerate(names)]


async def test_calls_run_as_steps_of_an_open_workflow_and_the_results_come_in_order(peer, client):
    async with client.agent_run("support", on_behalf_of="ana") as run:
        reply = message(
            SimpleNamespace(type="text", text="Let me look."),
            tool_use("toolu_1", "find_invoice", customer="${steps.step_1.output}"),
            tool_use("toolu_2", "greet"),
        )
        results = await run.execute(reply)
    assert run.id == "wf"
    assert results == [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": '{"id": "i1"}'},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "hello"},
    ]
    [start] = peer.requests_of(workflow_service_pb2.StartWorkflowRequest)
    assert (start.kind, start.open, start.on_behalf_of) == (events_pb2.WORKFLOW_KIND_AGENT, True, "ana")
    assert start.request_id
    first, second = sorted(peer.requests_of(workflow_service_pb2.AddStepsRequest), key=lambda each: each.request_id)
    assert (first.request_id, second.request_id) == ("toolu_1", "toolu_2")
    literal = first.steps[0].arguments.literal_json
    assert json.loads(literal) == {"customer": "${steps.step_1.output}"}, "a model's text is never a template"
    assert first.steps[0].on_failure == definition_pb2.ON_FAILURE_CONTINUE
    assert len(peer.requests_of(workflow_service_pb2.FinishWorkflowRequest)) == 1
    assert peer.watches == 1, "one stream for all calls"


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("refund", "denied: refund needs financial_operations (rule default-deny, event 0:2)"),
        ("delete", "denied: delete is forbidden (rule never-delete, event 0:2)"),
        ("busy", "denied: 10 calls a minute (reason RATE_LIMITED, event 0:2)"),
        ("broken", "failed: ValueError: no such invoice (reason TOOL_ERROR, event 0:2)"),
        ("secret", "unreadable: its key was destroyed (reason SEAL_BROKEN, event 0:2)"),
        ("no_such_tool", "invalid: tool is unknown (reason UNKNOWN_TOOL)"),
    ],
)
async def test_what_went_wrong_is_a_result_the_model_can_act_on(client, tool, text):
    async with client.agent_run() as run:
        [result] = await run.execute(message(tool_use("toolu_1", tool)))
    assert result == {"type": "tool_result", "tool_use_id": "toolu_1", "content": text, "is_error": True}


async def test_arguments_that_are_no_json_never_leave(peer, client):
    call = {"id": "call_1", "type": "function", "function": {"name": "greet", "arguments": '{"a": '}}
    async with client.agent_run() as run:
        [result] = await run.execute({"role": "assistant", "tool_calls": [call]})
    assert result["content"].startswith("invalid: the arguments are not JSON")
    assert peer.requests_of(workflow_service_pb2.AddStepsRequest) == []


async def test_a_large_output_is_fetched(client):
    async with client.agent_run() as run:
        [result] = await run.execute(plain("report"))
    assert result["output"] == ["large"]


async def test_the_same_call_again_gives_the_recorded_result(peer, client):
    async with client.agent_run() as run:
        first = await run.execute(plain("find_invoice", "broken"))
        again = await run.execute(plain("find_invoice", "broken"))
    assert first == again
    assert len([event for event in peer.events if event.WhichOneof("payload").startswith("step_")]) == 2


async def test_a_run_that_was_left_with_an_exception_stays_open_and_can_be_resumed(peer, client):
    run = client.agent_run()

    async def crash():
        async with run:
            await run.execute(plain("find_invoice"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await crash()
    assert peer.requests_of(workflow_service_pb2.FinishWorkflowRequest) == []
    async with client.agent_run(resume=run.id) as resumed:
        assert resumed.id == run.id
        [result, _] = await resumed.execute(plain("find_invoice", "greet"))
    assert result["output"] == {"id": "i1"}
    assert len(peer.requests_of(workflow_service_pb2.StartWorkflowRequest)) == 1
    assert len(peer.requests_of(workflow_service_pb2.FinishWorkflowRequest)) == 1


async def test_a_run_that_is_cancelled_stays_open(peer, client):
    entered = asyncio.Event()

    async def agent():
        async with client.agent_run() as run:
            entered.set()
            await run.execute(plain("slow"))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(agent())
        await entered.wait()
        task.cancel()
    assert peer.requests_of(workflow_service_pb2.FinishWorkflowRequest) == []


async def test_resuming_what_does_not_exist_is_an_error(client):
    with pytest.raises(podium.NotFound, match="no workflow nowhere"):
        async with client.agent_run(resume="nowhere"):
            pass


async def test_a_broken_stream_is_taken_up_again_where_it_broke(peer, client):
    peer.cut_after = [1, 2]
    async with client.agent_run() as run:
        results = await run.execute(plain("find_invoice", "greet"))
    assert [result["isError"] for result in results] == [False, False]
    assert peer.watches == 3


async def test_a_service_that_restarts_is_asked_again_with_the_same_request_id(peer, client):
    async with client.agent_run() as run:
        peer.unavailable = 2
        [result] = await run.execute(plain("greet"))
    assert result["output"] == "hello"
    requests = peer.requests_of(workflow_service_pb2.AddStepsRequest)
    assert [request.request_id for request in requests] == ["c0", "c0", "c0"]


async def test_tools_are_listed_for_the_narrowed_authority_in_the_vendors_format(peer, client):
    async with client.agent_run(permissions=["database_read"]) as run:
        listed = {name: await run.tools(name) for name in ("anthropic", "openai", "mcp")}
        with pytest.raises(podium.InvalidInput, match="cohere"):
            await run.tools("cohere")
    assert listed["anthropic"][0] == {
        "name": "broken",
        "description": "Does it.",
        "input_schema": {"type": "object"},
    }
    assert listed["openai"][0] == {
        "type": "function",
        "function": {"name": "broken", "description": "Does it.", "parameters": {"type": "object"}},
    }
    assert listed["mcp"][0]["inputSchema"] == {"type": "object"}
    assert listed["mcp"][0]["annotations"] == {"readOnlyHint": True, "idempotentHint": True}
    assert [tool["name"] for tool in listed["mcp"]] == sorted(peer.tools)
    asked = peer.requests_of(tool_service_pb2.ListToolsRequest)
    assert all(request.narrowed and list(request.permissions) == ["database_read"] for request in asked)
    [start] = peer.requests_of(workflow_service_pb2.StartWorkflowRequest)
    assert (start.narrowed, list(start.permissions)) == (True, ["database_read"])


async def test_a_reply_without_calls_has_no_results(client):
    async with client.agent_run() as run:
        assert await run.execute(message(SimpleNamespace(type="text", text="Done."))) == []
