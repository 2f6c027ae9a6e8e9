"""SIGKILL of the real service in every window: what was acknowledged is there, and nothing is there twice."""

import asyncio
import contextlib
import random
import signal
from collections import Counter

import pytest

from service.main import replay_offline
from tests.faults.load import CHAIN, Client, Load
from tests.faults.processes import battlefield
from tests.faults.verdict import contradictions, read_client_and_tools, read_log, unfair

WINDOWS = ("queued", "committing", "committed", "dispatched", "result_received")
KILLS_A_WINDOW = 11
EARLY = ("queued", "result_received", "committed", "committing", "dispatched")
"""Kills on top of those, which may find nothing running."""
CONTROL_KILLS = 5
CONTROL_ROUNDS = 12
ENDS_WITHIN_S = 30.0
SEED = 20_240


async def under_fire(field, executor, client, windows, *, writer="honest"):
    """Run the load, with a kill and a new service for each window, then a last service until everything ended."""
    chance = random.Random(SEED)
    load = Load(client)
    running = asyncio.ensure_future(load.run())
    try:
        for window in EARLY if writer == "honest" else ():
            # Armed from the first moment: the kill comes while the service recovers and executors come back.
            await field.begin(window=window, armed=True)
            assert await field.exited() == -signal.SIGKILL
        for window in windows:
            mark = executor.mark
            await field.start(window=window, nth=chance.randint(1, 6), writer=writer)
            welcomed = await executor.until("welcomed", after=mark)
            # The call that is held starts anew in every session, and ends with it: it is running and unanswered.
            held = await executor.until("started", tool="hold", after=mark, since=welcomed)
            assert any(request.startswith("hold") for request in client.in_flight), held
            field.arm()
            assert await field.exited() == -signal.SIGKILL
        await field.start()
        load.stop()
        executor.release()
        async with asyncio.timeout(ENDS_WITHIN_S):
            await running
    finally:
        running.cancel()
        await asyncio.wait([running])
    return load


@contextlib.asynccontextmanager
async def fought(directory, windows, **how):
    """A service that was killed in these windows, and now serves in peace."""
    async with battlefield(directory) as field:
        ledger = field.client_ledger()
        client = Client(field, ledger)
        executor = await field.executor()
        await field.start()
        await executor.until("welcomed")
        await field.kill()
        try:
            yield field, client, await under_fire(field, executor, client, windows, **how)
        finally:
            await client.close()


@pytest.mark.timeout(300)
async def test_no_kill_loses_or_doubles_anything(tmp_path):
    windows = [window for _ in range(KILLS_A_WINDOW) for window in WINDOWS]
    async with fought(tmp_path, windows) as (field, client, load):
        log = await read_log(field.database)
        told, tools = read_client_and_tools(field)
        assert load.refusals == []
        assert contradictions(log, told, tools) == []

        aimed = field.kills[-len(windows) :]
        assert Counter(kill["window"] for kill in aimed) == Counter(windows)
        assert list(unfair(aimed, told, tools)) == []

        for workflow_id in log.workflows():
            await assert_replays(field, client, workflow_id)
        # The same requests again, to a service that has seen none of them: nothing is recorded for them.
        started = [entry for entry in told if entry["event"] == "answered" and entry["call"] == "StartWorkflowRequest"]
        for entry in {entry["request_id"]: entry for entry in started[-20:]}.values():
            if entry["request_id"].startswith("chain"):
                assert await client.start(entry["request_id"], CHAIN) == entry["workflow"]
        field.signal(signal.SIGTERM)
        assert await field.exited() == 0
        assert (await read_log(field.database)).recorded == log.recorded


async def assert_replays(field, client, workflow_id):
    """What the service works with is what a reader of the file folds by itself."""
    answer = await client.replay(workflow_id)
    offline = await asyncio.to_thread(replay_offline, field.database, workflow_id)
    assert answer.matches
    assert answer.live_state_digest == offline.state_digest
    assert answer.stream_version == offline.stream_version


@pytest.mark.timeout(300)
async def test_negative_control_acknowledging_before_the_commit_is_found(tmp_path):
    # Whether a kill meets an acknowledgement that is ahead of its commit is chance: a round may meet none.
    found = []
    for number in range(CONTROL_ROUNDS):
        directory = tmp_path / str(number)
        directory.mkdir()
        async with fought(directory, ["committing"] * CONTROL_KILLS, writer="hasty") as (field, _, load):
            log = await read_log(field.database)
            told, tools = read_client_and_tools(field)
            found += [*contradictions(log, told, tools), *load.refusals]
        if any("was acknowledged and" in problem for problem in found):
            return
    raise AssertionError(f"{CONTROL_ROUNDS} rounds found no acknowledgement without its event, but: {found}")
