"""Whatever a tool raises fails its attempt and leaves its executor alone; Ctrl-C ends the executor."""

import asyncio
import contextlib
import os
import signal
import sys

import pytest

import podium
from tests.integration.rig.raising_executor import LEFT_IN_THE_MIDDLE, RAISED, TOOLS

WITHIN_S = 20.0
WAYS = ("run", "asyncio.run", "loop")


@contextlib.asynccontextmanager
async def executor(service, tenant, way):
    """A program that serves tools, once it does."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PODIUM_ADDRESS": service.address,
        "PODIUM_TOKEN": service.token("executor", tenant=tenant),
    }
    command = (sys.executable, "-m", "tests.integration.rig.raising_executor", way)
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(WITHIN_S):
            while b"serves in session" not in await process.stderr.readline():
                assert not process.stderr.at_eof()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def failure(client, tool, what):
    workflow = podium.Workflow()
    workflow.step(tool, what=what)
    result = await client.run(workflow)
    return result.failure.reason, result.failure.message


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_tool_raises_fails_its_attempt_and_nothing_else(service, tenant, connect, way):
    client = await connect()
    async with executor(service, tenant, way) as process, asyncio.timeout(WITHIN_S):
        for what in RAISED:
            told = await asyncio.gather(*(failure(client, tool, what) for tool in TOOLS))
            for tool, (reason, message) in zip(TOOLS, told, strict=True):
                # A batch that is stopped has no words.
                stopped = tool in {"batch_on_loop", "batch_in_thread"} and what == "CancelledError"
                assert (reason, message) == ("TOOL_ERROR", what if stopped else f"{what}: x"), tool
        assert await client.call("greet") == "hello"
        assert process.returncode is None


@pytest.mark.parametrize(("way", "code"), [("run", 0), ("asyncio.run", -signal.SIGINT), ("loop", LEFT_IN_THE_MIDDLE)])
async def test_ctrl_c_ends_an_executor(service, tenant, connect, way, code):
    client = await connect()
    async with executor(service, tenant, way) as process, asyncio.timeout(WITHIN_S):
        assert await failure(client, "on_loop", "KeyboardInterrupt") == ("TOOL_ERROR", "KeyboardInterrupt: x")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == code


@pytest.mark.parametrize(
    ("way", "times", "code"), [("run", 2, 0), ("asyncio.run", 2, -signal.SIGINT), ("loop", 1, LEFT_IN_THE_MIDDLE)]
)
async def test_ctrl_c_while_the_loop_is_in_a_tool_ends_the_executor(service, tenant, connect, way, times, code):
    client = await connect()
    async with executor(service, tenant, way) as process, asyncio.timeout(WITHIN_S):
        workflow = podium.Workflow()
        workflow.step("presses_ctrl_c", times=times)
        run = await client.start(workflow)
        assert await process.wait() == code
        await run.cancel()
