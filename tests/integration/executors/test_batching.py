"""A tool that takes several calls as one, on a real service: one call of the function, one history for each call."""

import asyncio
import threading
from dataclasses import dataclass

import pytest

import podium
from tests.integration.rig.history import of_step

WITHIN_S = 20.0


@dataclass
class Look:
    """A question."""

    symbol: str
    then: str = "answer"


class Batches(podium.Executor):
    """`batches` are the symbols of each call of a function; `gate` holds it back, `entered` tells that it is there."""

    def __init__(self, **settings):
        super().__init__("batches", **settings)
        self.batches = []
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()

    def take(self, calls, contexts):
        assert len(calls) == len(contexts)
        self.batches.append([call.symbol for call in calls])

    def answers(self, calls, contexts):
        return [self.answer(call, ctx) for call, ctx in zip(calls, contexts, strict=True)]

    @staticmethod
    def answer(call, ctx):
        match call.then:
            case "fail":
                return podium.ToolFailed(f"no {call.symbol}", reason="NO_SUCH_SYMBOL", retryable=False)
            case "no json":
                return object()
            case _:
                return {"symbol": call.symbol, "key": ctx.idempotency_key}


@pytest.fixture
def app():
    executor = Batches(max_parallel=4)
    batch = podium.Batch(max_calls=8, max_wait="100ms")

    @executor.tool(read_only=True, batch=batch)
    async def look(calls: list[Look], contexts: list[podium.Context]) -> list[dict | Exception]:
        executor.take(calls, contexts)
        return executor.answers(calls, contexts)

    @executor.tool(read_only=True, batch=batch)
    def look_in_thread(calls: list[Look], contexts: list[podium.Context]) -> list[dict | Exception]:
        assert threading.current_thread() is not threading.main_thread()
        executor.take(calls, contexts)
        return executor.answers(calls, contexts)

    @executor.tool(batch=batch)
    async def gated(calls: list[Look], contexts: list[podium.Context]) -> list[str]:
        executor.take(calls, contexts)
        executor.entered.set()
        await executor.gate.wait()
        return ["not wanted" if ctx.cancelled else call.symbol for call, ctx in zip(calls, contexts, strict=True)]

    @executor.tool(batch=batch)
    async def breaks(calls: list[Look]) -> list[str]:
        executor.batches.append([call.symbol for call in calls])
        raise podium.ToolFailed("the exchange is closed", reason="CLOSED", retryable=False)

    @executor.tool(batch=batch)
    async def miscounts(calls: list[Look]) -> list[str]:
        executor.batches.append([call.symbol for call in calls])
        return ["one"] * (len(calls) + 1)

    return executor


def looks(tool, *symbols, **arguments):
    return [podium.Call(tool, {"symbol": symbol, **arguments}) for symbol in symbols]


@pytest.mark.parametrize("tool", ["look", "look_in_thread"])
async def test_calls_that_come_together_are_one_call_of_the_function_and_each_has_its_own_history(
    connect, caller, app, tool
):
    client = await connect(app)
    workflow = podium.Workflow()
    symbols = [f"s{number}" for number in range(20)]
    steps = [workflow.step(tool, symbol=symbol) for symbol in symbols]
    result = await client.run(workflow)
    assert [result[step.id]["symbol"] for step in steps] == symbols
    assert len({result[step.id]["key"] for step in steps}) == 20
    assert sorted(symbol for batch in app.batches for symbol in batch) == sorted(symbols)
    assert max(map(len, app.batches)) == 8, "more than max_parallel: an executor takes enough to fill a batch"
    assert len(app.batches) <= 5
    recorded = await caller.history(result.id)
    for step in steps:
        assert of_step(recorded, step.id)[-3:] == ["permission_checked", "attempt_started", "step_succeeded"]


async def test_without_a_batch_each_call_is_a_call_of_the_function(connect, app):
    """What the counts above would be if nothing were gathered."""

    @app.tool(read_only=True)
    async def look_alone(symbol: str) -> str:
        app.batches.append([symbol])
        return symbol

    client = await connect(app)
    await client.call_batch(looks("look_alone", *(f"s{number}" for number in range(20))))
    assert len(app.batches) == 20


async def test_each_call_has_its_own_failure(connect, app):
    client = await connect(app)
    calls = [*looks("look", "a", "b"), *looks("look", "c", then="fail"), *looks("look", "d", then="no json")]
    good, _, failed, odd = await client.call_batch(calls)
    assert app.batches == [["a", "b", "c", "d"]]
    assert good.output["symbol"] == "a"
    assert (failed.error.reason, failed.error.message, failed.attempts) == ("NO_SUCH_SYMBOL", "no c", 1)
    assert odd.error.reason == "INVALID_OUTPUT"


async def test_arguments_that_the_schema_refuses_never_get_to_the_function(connect, app):
    client = await connect(app)
    [tool] = [tool for tool in await client.tools() if tool.name == "look"]
    assert (tool.batching.max_calls, tool.batching.max_wait_ms) == (8, 100)
    with pytest.raises(podium.InvalidInput, match="symbol"):
        await client.call("look", symbol=5)
    assert app.batches == []


@pytest.mark.parametrize(("tool", "reason"), [("breaks", "CLOSED"), ("miscounts", "INVALID_OUTPUT")])
async def test_a_batch_that_fails_fails_every_call_in_it(connect, app, tool, reason):
    client = await connect(app)
    outcomes = await client.call_batch(looks(tool, "a", "b", "c"))
    assert app.batches == [["a", "b", "c"]]
    assert [outcome.error.reason for outcome in outcomes] == [reason] * 3
    if tool == "miscounts":
        assert outcomes[0].error.message == "a batch of 3 calls must return a list of as many results, not 4 results"


async def started(client, *steps):
    """Starts a workflow for each step, so that each can be canceled alone."""
    runs = []
    for call, fields in steps:
        workflow = podium.Workflow(cancel_grace="20s")
        workflow.step(call.tool, call.arguments, **fields)
        runs.append(await client.start(workflow))
    return runs


async def soon(event):
    async with asyncio.timeout(WITHIN_S):
        await event.wait()


async def test_a_call_that_is_canceled_cancels_no_other_and_tells_what_the_function_did(connect, app):
    client = await connect(app)
    first, second = await started(client, *((call, {}) for call in looks("gated", "a", "b")))
    await soon(app.entered)
    await first.cancel()
    async for update in first.watch():
        if update.kind == "workflow_cancel_requested":
            break
    # The executor hears of it in its session, in order: what is sent after it has been acted on.
    assert await client.call("look", symbol="after") is not None
    app.gate.set()
    assert (await second.result())["step_1"] == "b"
    assert (await first.result()).steps["step_1"].state == "succeeded"
    assert (await first.result())["step_1"] == "not wanted"


async def test_a_function_that_nobody_waits_for_is_stopped(connect, app):
    client = await connect(app)
    runs = await started(client, *((call, {}) for call in looks("gated", "a", "b")))
    await soon(app.entered)
    for run in runs:
        await run.cancel()
    assert [(await run.result()).states["step_1"] for run in runs] == ["canceled", "canceled"]
    assert not app.gate.is_set()


async def test_each_call_has_its_own_deadline(connect, app):
    client = await connect(app)
    short, long = looks("gated", "a", "b")
    once = podium.Retry(max_attempts=1)
    first, second = await started(client, (short, {"timeout": "300ms", "retry": once}), (long, {"timeout": "30s"}))
    failure = (await first.result()).steps["step_1"].failure
    assert failure.reason.endswith("TIMEOUT")
    assert not (await second.status()).ended
    app.gate.set()
    assert (await second.result())["step_1"] == "b"
    assert app.batches == [["a", "b"]]
