"""The SDK's two halves, against a real service: workflows, calls, streams, cancels and outages."""

import asyncio
import os
import threading

import pytest

import podium

WITHIN_S = 20.0


async def soon(event):
    async with asyncio.timeout(WITHIN_S):
        await event.wait()


@pytest.fixture
def app():
    executor = podium.Executor("library")

    @executor.tool(read_only=True)
    async def search(query: str, limit: int = 2) -> dict:
        return {"hits": [{"title": f"{query} {number}"} for number in range(limit)]}

    @executor.tool(read_only=True)
    def shout(text: str) -> str:
        return text.upper()

    @executor.tool
    async def refuse(text: str) -> str:
        raise podium.ToolFailed(f"no {text}", reason="REFUSED", retryable=False)

    return executor


async def test_a_workflow_built_in_python_runs(connect, app):
    client = await connect(app)
    workflow = podium.Workflow("research", max_parallel=4)
    found = workflow.step("search", query=workflow.input["topic"], limit=3)
    shouted = workflow.step(
        "shout", text=podium.text("{}: {}", podium.index, podium.item["title"]), for_each=found.output["hits"]
    )
    workflow.step("shout", step_id="last", text=shouted.output[-1], after=[found])
    workflow.step("shout", step_id="never", text="x", when=f"size({found.output['hits'].cel}) > 5")
    workflow.step("refuse", step_id="tolerated", text="${steps.last.output}", on_failure="continue")
    workflow.step("shout", step_id="anyway", text="ok", after=["tolerated", "never"], join="done")
    result = await client.run(workflow, {"topic": "owls"})
    assert result.ok, result.failure
    assert result["step_2"] == ["0: OWLS 0", "1: OWLS 1", "2: OWLS 2"]
    assert result["last"] == "2: OWLS 2"
    assert result["never"] is None
    assert result["anyway"] == "OK"
    assert result.states["never"] == "skipped"
    assert result.states["step_2[1]"] == "succeeded"
    with pytest.raises(podium.ToolFailed, match=r"no \$\{steps\.last\.output\} \(REFUSED"):
        _ = result["tolerated"]
    kinds = [update.kind async for update in client.watch(result.id)]
    assert (kinds[0], kinds[-1]) == ("workflow_started", "workflow_succeeded")


async def test_a_workflow_that_fails_says_why(connect, app):
    client = await connect(app)
    workflow = podium.Workflow()
    workflow.step("refuse", text="owls")
    result = await client.run(workflow)
    assert (result.state, result.ok, result.failure.message) == ("failed", False, "no owls")


async def test_what_cannot_run_is_refused_before_it_is_recorded(connect, app):
    client = await connect(app)
    workflow = podium.Workflow()
    workflow.step("no_such_tool")
    with pytest.raises(podium.InvalidInput) as raised:
        await client.start(workflow)
    assert raised.value.field.startswith("steps[0]")
    assert [each async for each in client.list()] == []


async def test_starting_again_with_the_same_request_id_starts_nothing(connect, app):
    client = await connect(app)
    workflow = podium.Workflow("twice")
    workflow.step("search", query="x")
    first = await client.start(workflow, request_id="mine")
    second = await client.start(workflow, request_id="mine")
    assert first.id == second.id
    assert (await first.result()).ok
    other = podium.Workflow("other")
    other.step("search", query="y")
    with pytest.raises(podium.Conflict):
        await client.start(other, request_id="mine")


async def test_calls_and_batches_give_outcomes(connect, app):
    client = await connect(app)
    assert await client.call("search", query="x", limit=1) == {"hits": [{"title": "x 0"}]}
    with pytest.raises(podium.ToolFailed, match="no owls") as raised:
        await client.call("refuse", {"text": "owls"})
    assert raised.value.event.startswith("0:")
    outcomes = await client.call_batch([("shout", {"text": str(number)}) for number in range(30)], max_workers=5)
    assert [outcome.output for outcome in outcomes] == [str(number) for number in range(30)]
    mixed = await client.call_batch([podium.Call("refuse", {"text": "a"}), podium.Call("shout", {"text": "b"})])
    assert [outcome.ok for outcome in mixed] == [False, True]


async def test_a_denied_call_raises_and_names_its_event(connect, app):
    @app.tool(permissions=["financial_operations"])
    async def pay() -> str:
        return "paid"

    await connect(app)
    agent = await connect(roles=["agent"], subject="bo")
    with pytest.raises(podium.PermissionDenied) as raised:
        await agent.call("pay")
    assert "financial_operations" in raised.value.message
    assert raised.value.event.startswith("0:")
    assert "pay" not in {tool.name for tool in await agent.tools()}


async def test_streamed_output_is_watched_piece_by_piece_and_is_the_output(connect, app):
    @app.tool(streams_output=True)
    async def tell():
        for word in ("once ", "upon ", "a ", "time"):
            yield word

    @app.tool
    def log(ctx: podium.Context):
        ctx.progress(0.5, "half")
        yield {"line": 1}
        yield podium.Output("done")

    client = await connect(app)
    workflow = podium.Workflow()
    workflow.step("tell")
    workflow.step("log")
    run = await client.start(workflow)
    pieces = {}
    async for update in run.watch():
        if update.chunk is not None:
            pieces[update.step_id] = pieces.get(update.step_id, b"") + update.chunk.data
    assert pieces == {"step_1": b"once upon a time", "step_2": b'{"line":1}\n'}
    result = await run.result()
    assert (result["step_1"], result["step_2"]) == ("once upon a time", "done")


async def test_a_streamed_output_in_an_agents_run_reaches_the_model(connect, app):
    @app.tool(streams_output=True)
    def tell():
        yield "once "
        yield "upon a time"

    client = await connect(app)
    async with client.agent_run() as run:
        [result] = await run.execute([{"id": "1", "name": "tell"}])
    assert result["output"] == "once upon a time"


async def test_large_values_travel_both_ways(connect, app):
    client = await connect(app)
    text = "ä" * 300_000
    assert await client.call("shout", text=text) == text.upper()


async def test_a_cancel_reaches_the_tool(connect, app):
    entered, cancelled = asyncio.Event(), asyncio.Event()

    @app.tool
    async def wait() -> None:
        entered.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    client = await connect(app)
    workflow = podium.Workflow()
    workflow.step("wait")
    run = await client.start(workflow)
    await soon(entered)
    await run.cancel("enough")
    result = await run.result()
    assert cancelled.is_set()
    assert (result.state, result.states) == ("canceled", {"step_1": "canceled"})


async def test_a_tool_that_takes_too_long_is_stopped(connect, app):
    stopped = threading.Event()

    @app.tool(timeout="200ms")
    def poll(ctx: podium.Context) -> None:
        while not stopped.wait(0.005):
            if ctx.cancelled:
                stopped.set()

    client = await connect(app)
    with pytest.raises(podium.TimedOut):
        await client.call("poll")
    assert await asyncio.to_thread(stopped.wait, WITHIN_S)


async def test_an_attempt_survives_a_killed_service_and_so_does_who_waits_for_it(own_service):
    service = own_service(heartbeat_interval_ms=500)
    service.start()
    app = podium.Executor("library")
    both_entered, leave = asyncio.Event(), asyncio.Event()
    calls = []

    @app.tool
    async def wait(ctx: podium.Context):
        calls.append(ctx.attempt)
        yield "before"
        if len(calls) == 2:
            both_entered.set()
        await leave.wait()
        yield "after"
        yield podium.Output(os.getpid())

    async with podium.connect(service.address, service.token(), serve=app) as client:
        workflow = podium.Workflow()
        workflow.step("wait")
        run = await client.start(workflow)
        pieces, watching = [], asyncio.Event()

        async def watch():
            async for update in run.watch():
                watching.set()
                if update.chunk is not None:
                    pieces.append(update.chunk.data)

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            waiting = group.create_task(client.try_call("wait", {}))
            await soon(both_entered)
            await soon(watching)
            service.kill()
            leave.set()
            await asyncio.to_thread(service.start)
            outcome = await waiting
        result = await run.result()
    assert result.ok, result.failure
    assert (result["step_1"], outcome.output) == (os.getpid(), os.getpid())
    assert pieces == [b"before", b"after"]
    assert calls == [1, 1], "nothing ran twice"


async def test_an_agents_run_goes_on_while_the_service_restarts(own_service):
    service = own_service(heartbeat_interval_ms=500)
    service.start()
    app = podium.Executor("library")
    entered, leave = asyncio.Event(), asyncio.Event()

    @app.tool
    async def wait() -> str:
        entered.set()
        await leave.wait()
        return "done"

    async with (
        podium.connect(service.address, service.token(), serve=app) as client,
        client.agent_run() as run,
        asyncio.TaskGroup() as group,
    ):
        executing = group.create_task(run.execute([{"id": "1", "name": "wait"}]))
        await soon(entered)
        leave.set()
        await asyncio.to_thread(service.stop)
        await asyncio.to_thread(service.start)
        [result] = await executing
    assert result["output"] == "done"
