"""The service's own beginnings and ends: one server a file, a drain that loses nothing, a first start cut short."""

import asyncio
import signal
import sys

import pytest

from tests.architecture.checkout import ROOT
from tests.faults.load import CHAIN, Client, Load
from tests.faults.processes import ENVIRONMENT, WITHIN_S, battlefield
from tests.faults.verdict import contradictions, read_client_and_tools, read_log
from tests.ports import free_port

ENDS_WITHIN_S = 30.0
DRAINS = 2
STATEMENTS = (1, 4, 9, 16)
"""The statements of the migration before which the very first start is killed, one start after the other."""


@pytest.fixture
async def field(tmp_path):
    async with battlefield(tmp_path) as entered:
        yield entered


async def test_a_second_server_on_the_same_file_is_refused_with_a_clear_message(field):
    running = await field.start()
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.cli", "serve"),
        *("--listen", f"127.0.0.1:{free_port()}", "--database", str(field.database)),
        *("--state-dir", str(field.directory / "state")),
        cwd=ROOT,
        env=ENVIRONMENT,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            _, complaint = await second.communicate()
    finally:
        if second.returncode is None:
            second.kill()
            await second.wait()
    assert second.returncode == 1
    assert f"{field.database} is in use: process {running['pid']} holds" in complaint.decode()
    # The first one does not mind.
    client = Client(field, field.client_ledger())
    assert await client.start("still", [], is_open=True)
    await client.close()


async def test_sigterm_drains_and_loses_nothing(field):
    client = Client(field, field.client_ledger())
    executor = await field.executor()
    await field.start()
    await executor.until("welcomed")
    load = Load(client)
    running = asyncio.ensure_future(load.run())
    for _ in range(DRAINS):
        mark = executor.mark
        await executor.until("finished", tool="pieces", after=mark)
        field.signal(signal.SIGTERM)
        assert await field.exited() == 0
        await field.start()
    load.stop()
    executor.release()
    async with asyncio.timeout(ENDS_WITHIN_S):
        await running
    await client.close()
    log = await read_log(field.database)
    assert load.refusals == []
    assert contradictions(log, *read_client_and_tools(field)) == []
    # A drain is no crash: nobody's attempt was lost by it.
    reasons = {failed.failure.reason for _, failed in log.of_kind("attempt_failed")}
    assert reasons <= {"TOOL_ERROR"}


async def test_a_first_start_that_is_killed_can_be_made_again(field):
    for statement in STATEMENTS:
        await field.begin(window="migrating", nth=statement, armed=True)
        assert await field.exited() == -signal.SIGKILL
    await field.start()
    client = Client(field, field.client_ledger())
    executor = await field.executor()
    await executor.until("welcomed")
    await client.watch(await client.start("after", CHAIN))
    await client.close()
    assert contradictions(await read_log(field.database), *read_client_and_tools(field)) == []
