"""The same run in the words of other vendors."""

import json
from types import SimpleNamespace

import pytest

import podium
from podium.v1 import value_pb2


@pytest.fixture
def app():
    executor = podium.Executor("billing")
    executor.refunds = []

    @executor.tool(permissions=["database_read"], read_only=True)
    async def find_invoice(customer: str) -> dict:
        """Find a customer's newest invoice."""
        return {"id": f"in_{customer}", "cents": 1999}

    @executor.tool(permissions=["financial_operations"])
    async def refund(invoice: str, cents: int) -> str:
        """Refund an invoice."""
        executor.refunds.append(invoice)
        return f"refunded {cents}"

    return executor


def completion(*calls):
    """A completion as the vendor's library gives it."""
    tool_calls = [
        SimpleNamespace(
            id=call_id, type="function", function=SimpleNamespace(name=name, arguments=json.dumps(arguments))
        )
        for call_id, name, arguments in calls
    ]
    message = SimpleNamespace(role="assistant", content=None, tool_calls=tool_calls)
    return SimpleNamespace(choices=[SimpleNamespace(message=message, finish_reason="tool_calls")])


async def test_openai_tools_calls_and_results(caller, connect, app):
    client = await connect(app)
    async with client.agent_run("support", on_behalf_of="ana") as run:
        tools = await run.tools("openai")
        assert [each["type"] for each in tools] == ["function", "function"]
        assert [each["function"]["name"] for each in tools] == ["find_invoice", "refund"]
        assert tools[0]["function"]["parameters"]["required"] == ["customer"]
        reply = completion(
            ("call_1", "find_invoice", {"customer": "ana"}),
            ("call_2", "refund", {"invoice": "in_ana", "cents": 1999}),
            ("call_3", "refund", {"invoice": "in_ana"}),
        )
        results = await run.execute(reply)
        assert await run.execute(reply) == results, "the same calls give the same results"
    assert [each["role"] for each in results] == ["tool"] * 3
    assert [each["tool_call_id"] for each in results] == ["call_1", "call_2", "call_3"]
    assert json.loads(results[0]["content"]) == {"id": "in_ana", "cents": 1999}
    assert results[1]["content"] == "refunded 1999"
    assert results[2]["content"].startswith("invalid: ")
    assert app.refunds == ["in_ana"]
    summary = await caller.get(run.id)
    assert (summary.state, summary.name) == (value_pb2.WORKFLOW_STATE_SUCCEEDED, "support")


async def test_a_completion_as_a_plain_dictionary(connect, app):
    client = await connect(app)
    call = {"id": "call_1", "type": "function", "function": {"name": "find_invoice", "arguments": '{"customer": "bo"}'}}
    async with client.agent_run() as run:
        [result] = await run.execute({"role": "assistant", "content": None, "tool_calls": [call]})
    assert json.loads(result["content"])["id"] == "in_bo"


async def test_mcp_tools_calls_and_results(connect, app):
    client = await connect(app)
    async with client.agent_run() as run:
        tools = await run.tools("mcp")
        assert [(each["name"], each["annotations"]["readOnlyHint"]) for each in tools] == [
            ("find_invoice", True),
            ("refund", False),
        ]
        [result] = await run.execute([{"id": "1", "name": "find_invoice", "arguments": {"customer": "cy"}}])
    assert (result["isError"], result["output"]["id"]) == (False, "in_cy")


async def test_a_narrowed_run_offers_and_runs_only_what_it_may(connect, app):
    client = await connect(app)
    async with client.agent_run(permissions=["database_read"]) as run:
        assert [each["name"] for each in await run.tools("anthropic")] == ["find_invoice"]
        [result] = await run.execute([{"id": "1", "name": "refund", "arguments": {"invoice": "i", "cents": 1}}])
    assert result["isError"]
    assert result["content"][0]["text"].startswith(
        "denied: refund needs financial_operations (rule default-deny, event 0:"
    )
    assert app.refunds == []


async def test_a_failing_tool_is_told_with_its_reason_and_its_event(caller, connect):
    app = podium.Executor("broken")

    @app.tool
    async def fail() -> None:
        """Fail."""
        raise podium.ToolFailed("the printer is on fire", reason="ON_FIRE", retryable=False)

    client = await connect(app)
    async with client.agent_run() as run:
        [result] = await run.execute([{"id": "1", "name": "fail", "arguments": {}}])
    [event] = [each for each in await caller.history(run.id) if each.HasField("step_failed")]
    text = f"failed: the printer is on fire (reason ON_FIRE, event 0:{event.position})"
    assert result["content"] == [{"type": "text", "text": text}]


async def test_a_large_result_reaches_the_model_whole(connect):
    app = podium.Executor("large")

    @app.tool
    async def report() -> str:
        """Write a report."""
        return "r" * 300_000

    client = await connect(app)
    async with client.agent_run() as run:
        [result] = await run.execute([{"id": "1", "name": "report", "arguments": {}}])
    assert result["output"] == "r" * 300_000


async def test_a_run_that_is_left_with_an_exception_stays_open(caller, connect, app):
    client = await connect(app)
    with pytest.raises(ZeroDivisionError):
        async with client.agent_run() as run:
            raise ZeroDivisionError
    summary = await caller.get(run.id)
    assert (summary.state, summary.open) == (value_pb2.WORKFLOW_STATE_RUNNING, True)
