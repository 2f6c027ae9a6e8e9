"""A tool that says of itself, with the SDK, that it cannot be run: steps wait for it, and go on when it can."""

import asyncio

import podium
from tests.integration.rig.history import payloads

WITHIN_S = 20.0


async def test_a_step_waits_for_a_tool_that_is_not_well_and_goes_on_when_it_is(connect, caller):
    app, asked = podium.Executor("shop"), asyncio.Semaphore(0)
    well = False

    def health():
        loop.call_soon_threadsafe(asked.release)
        return podium.Health(well, "no disk")

    @app.tool(read_only=True, health=health, probe=podium.Probe(interval="50ms", unhealthy_after=2, healthy_after=1))
    async def look() -> str:
        return "looked"

    loop = asyncio.get_running_loop()
    client = await connect(app)
    async with asyncio.timeout(WITHIN_S):
        while not (changes := payloads(await caller.history("health/look"), "tool_health_changed")):
            await asked.acquire()
        assert [change.healthy for change in changes] == [False]
        assert changes[0].message == "no disk"
        workflow = podium.Workflow()
        workflow.step("look")
        run = await client.start(workflow)
        for _ in range(2):
            await asked.acquire()
        assert not (await run.status()).ended
        well = True
        assert (await run.result())["step_1"] == "looked"
    assert [change.healthy for change in payloads(await caller.history("health/look"), "tool_health_changed")] == [
        False,
        True,
    ]
