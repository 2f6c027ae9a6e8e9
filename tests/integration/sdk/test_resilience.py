"""What tools and steps declare of resilience with the SDK, on a real service."""

import podium
from tests.integration.rig.history import payload, payloads


async def test_a_result_is_cached_for_as_long_as_the_tool_says(connect, caller):
    app, runs = podium.Executor("shop"), []

    @app.tool(read_only=True, caching=podium.Caching(ttl="1m"))
    async def price(ctx: podium.Context, symbol: str, ttl: float) -> str:
        runs.append(symbol)
        ctx.cache_for(ttl)
        return symbol

    client = await connect(app)
    workflow = podium.Workflow()
    workflow.step("price", symbol="a", ttl=5.5)
    result = await client.run(workflow)
    assert payload(await caller.history(result.id), "step_succeeded").cache_ttl_ms == 5500
    again = [
        await client.try_call("price", {"symbol": symbol, "ttl": ttl})
        for symbol, ttl in (("a", 5.5), ("b", 0), ("b", 0))
    ]
    assert [outcome.cached for outcome in again] == [True, False, False]
    assert runs == ["a", "b", "b"]
    assert (await client.run(workflow)).steps["step_1"].cached


async def test_a_fallback_chain_of_the_builder_takes_the_place_of_a_failure(connect, caller):
    app = podium.Executor("shop")

    @app.tool(read_only=True)
    async def quote(symbol: str) -> str:
        raise podium.ToolFailed("the exchange is closed", reason="CLOSED", retryable=False)

    @app.tool(read_only=True)
    async def mirror(code: str) -> str:
        raise podium.ToolFailed("so is this", reason="CLOSED", retryable=False)

    client = await connect(app)
    workflow = podium.Workflow()
    step = workflow.step("quote", symbol="a").fallback(
        podium.Fallback.tool("mirror", {"code": "a"}, on=["CLOSED"]), podium.Fallback.value("unknown")
    )
    result = await client.run(workflow, priority="high")
    assert (result.ok, result[step.id], result.degraded) == (True, "unknown", {step.id: 2})
    recorded = await caller.history(result.id)
    assert len(payloads(recorded, "fallback_tried")) == 2
    assert payload(recorded, "workflow_started").priority == 3
