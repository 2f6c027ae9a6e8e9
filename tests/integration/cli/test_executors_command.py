"""`podium executors list`, against a running service."""

import asyncio

import pytest

import podium

POOL = "pool: 2 of 9 in use"


@pytest.fixture
async def connected(connect):
    app = podium.Executor("crew")

    @app.tool(read_only=True, health=lambda: podium.Health(True, POOL), probe=podium.Probe(interval="50ms"))
    async def query() -> int:
        """Ask a database."""
        return 1

    @app.tool(read_only=True, health=lambda: podium.Health(False, "no disk"), probe=podium.Probe(interval="50ms"))
    async def store() -> int:
        """Store something."""
        return 1

    await connect(app)


async def test_it_shows_what_cannot_be_run_and_what_the_others_said(service, podium_command, connected, tenant):
    async def ask(*words):
        settings = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": service.token("ana", tenant=tenant)}
        return await asyncio.to_thread(podium_command, "executors", "list", *words, **settings)

    def tools(told):
        return {each["tool"]: (each["healthy"], each["message"]) for each in told.json["tools"]}

    async with asyncio.timeout(20):
        while tools(told := await ask("--json")) != {"query": (True, POOL), "store": (False, "no disk")}:
            pass
    assert (told.code, told.json["executor"]) == (0, "crew")
    drawn = await ask()
    assert drawn.code == 0
    assert drawn.out.splitlines()[0].split() == [
        "executor",
        "session",
        "attempts",
        "state",
        "tools",
        "unhealthy",
        "said",
    ]
    [line] = [line for line in drawn.out.splitlines() if line.startswith("crew")]
    assert "store: no disk" in line
    assert f"query: {POOL}" in line
    assert "no executor" in (await ask("--tool", "unheard-of")).err
