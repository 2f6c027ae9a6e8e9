"""SIGKILL of the whole service in every window, under load: nothing acknowledged is lost, nothing is there twice.

Clients and an executor outside of the service write down what they ask and are told; every kill hits an attempt that
runs and a client that waits. After each kill the live state of runs is held against the log, at whatever version they
have by then; at the end every workflow's, at its last.
"""

import asyncio
import contextlib
import random
import signal
import tempfile
from collections import Counter
from pathlib import Path

from service.main import replay_offline
from tests.faults.load import CHAIN, Client, Load
from tests.faults.processes import battlefield
from tests.faults.row import Row, Violation
from tests.faults.verdict import contradictions, read_client_and_tools, read_log, unfair

TARGETS = {"make": 5, "faults": 200, "nightly": 50}
WINDOWS = ("queued", "committing", "committed", "dispatched", "result_received")
EARLY = ("queued", "result_received", "committed", "committing", "dispatched")
"""Kills on top of those, which may find nothing running."""
SPARE = 10
"""One kill in so many is on top, in place of those that hit nobody and do not count."""
STATES_A_KILL = 5
ASKED_AGAIN = 20
CONTROL_KILLS = 5
CONTROL_ROUNDS = 12
ENDS_WITHIN_S = 60.0


async def under_fire(field, executor, client, windows, chance, progress, *, writer="honest"):
    """Run the load, with a kill and a new service for each window, then a last service until everything ended."""
    load = Load(client)
    running = asyncio.ensure_future(load.run())
    try:
        for window in EARLY if writer == "honest" else ():
            # Armed from the first moment: the kill comes while the service recovers and executors come back.
            await field.begin(window=window, armed=True)
            assert await field.exited() == -signal.SIGKILL
        for number, window in enumerate(windows, 1):
            mark = executor.mark
            await field.start(window=window, nth=chance.randint(1, 6), writer=writer)
            welcomed = await executor.until("welcomed", after=mark)
            # The call that is held starts anew in every session, and ends with it: it is running and unanswered.
            held = await executor.until("started", tool="hold", after=mark, since=welcomed)
            assert any(request.startswith("hold") for request in client.in_flight), held
            for workflow_id in client.newest(STATES_A_KILL) if writer == "honest" else ():
                await client.replay(workflow_id)
            field.arm()
            assert await field.exited() == -signal.SIGKILL
            progress(number)
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
async def fought(directory, windows, chance, progress=lambda done: None, **how):
    """A service that was killed in these windows, and now serves in peace."""
    async with battlefield(directory) as field:
        client = Client(field, field.client_ledger())
        executor = await field.executor()
        await field.start()
        await executor.until("welcomed")
        await field.kill()
        try:
            yield field, client, await under_fire(field, executor, client, windows, chance, progress, **how)
        finally:
            await client.close()


async def killed(directory, kills, seed, progress):
    """Everything that is wrong after so many kills, and how many of them hit somebody."""
    chance = random.Random(seed)
    windows = [WINDOWS[number % len(WINDOWS)] for number in range(kills)]
    async with fought(directory, windows, chance, progress) as (field, client, load):
        log = await read_log(field.database)
        for workflow_id in log.workflows():
            await client.replay(workflow_id)
        told, tools = read_client_and_tools(field)
        aimed = field.kills[-kills:]
        found = [*load.refusals, *contradictions(log, told, tools)]
        if Counter(kill["window"] for kill in aimed) != Counter(windows):
            found.append(f"the windows were missed: {aimed}")
        found += await asked_again(field, client, told, log)
        any_one = chance.choice(log.workflows())
        offline = await asyncio.to_thread(replay_offline, field.database, any_one)
        if offline.state_digest != (await client.replay(any_one)).live_state_digest:
            found.append(f"a reader of the file folds {any_one} to another state than the service")
        field.signal(signal.SIGTERM)
        if (status := await field.exited()) != 0:
            found.append(f"the service ended with {status} after SIGTERM")
        if (await read_log(field.database)).recorded != log.recorded:
            found.append("requests that were put again were recorded again")
        return found, kills - len(unfair(aimed, told, tools))


async def asked_again(field, client, told, log):
    """The same requests again, to a service that has seen none of them: the answers are the same."""
    started = [entry for entry in told if entry["event"] == "answered" and entry["call"] == "StartWorkflowRequest"]
    chains = [entry for entry in started if entry["request_id"].startswith("chain")]
    return [
        f"{entry['request_id']} was answered differently when it was put again"
        for entry in chains[-ASKED_AGAIN:]
        if await client.start(entry["request_id"], CHAIN) != entry["workflow"]
    ]


async def hastily_killed(directory, seed):
    """What is found when the service acknowledges before it commits."""
    chance = random.Random(seed)
    windows = ["committing"] * CONTROL_KILLS
    async with fought(directory, windows, chance, writer="hasty") as (field, _, load):
        log = await read_log(field.database)
        return [*load.refusals, *contradictions(log, *read_client_and_tools(field))]


def is_haste_found(seed):
    # Whether a kill meets an acknowledgement that is ahead of its commit is chance: a round may meet none.
    for number in range(CONTROL_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(hastily_killed(Path(folder), f"{seed}/{number}"))
        if any("was acknowledged and" in problem for problem in found):
            return True
    return False


def run(scale, seed, progress):
    target = TARGETS[scale]
    with tempfile.TemporaryDirectory() as folder:
        found, cases = asyncio.run(killed(Path(folder), target + target // SPARE, seed, progress))
    return Row("service_kills", seed, cases, target, tuple(map(Violation, found)), is_haste_found(seed))
