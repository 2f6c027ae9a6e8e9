"""Real processes that stop, go on and die: an attempt has one accepted completion, and what is stale is refused.

Each case is a step that runs on one of several executors until its gate opens. While it runs its executor is stopped
for too long (SIGSTOP, and SIGCONT when the step runs elsewhere), stopped for a moment, or killed; or the service
itself is stopped for longer than its heartbeats. An executor that comes back reports a result, wanted or not.
"""

import asyncio
import random
import signal
import tempfile
from pathlib import Path

from tests.faults.load import Client, step
from tests.faults.pauses import pass_time
from tests.faults.processes import battlefield
from tests.faults.row import Row, Violation
from tests.faults.verdict import contradictions, read_client_and_tools, read_log

TARGETS = {"make": 5, "faults": 200, "nightly": 60}
EXECUTORS = 5
AT_ONCE = 4
GRACE_MS = 500
MOMENT_S = 0.4
SERVICE_STOPS_S = 2.0
WITHIN_S = 60.0
LOOK_EVERY_S = 0.02
CONTROL_CASES = 4
ALONE, ALONE_S = "stopped, and there is no other", 2.5
"""The step waits for the executor that was lost, which then speaks of its old attempt while it runs the new one."""
KINDS = ("stopped too long",) * 5 + ("stopped for a moment",) * 2 + ("killed",) * 2 + ("service stopped",)


class Fight:
    """A service, its executors, and the cases that are tried on them."""

    def __init__(self, field, client, chance):
        self._field = field
        self._client = client
        self._chance = chance
        self._executors = []
        self._names = 0
        self._service_stops = asyncio.Lock()
        self._stops = {}

    async def add_executor(self):
        self._names += 1
        executor = await self._field.executor(f"executor-{self._names}")
        await executor.until("welcomed")
        self._executors.append(executor)
        self._stops[executor] = asyncio.Lock()

    async def case(self, number, kind):
        """One step, one fault while it runs, and its end."""
        gate = self._field.directory / f"gate-{number}"
        held = step("held", "gated", f'{{"gate": "{gate}"}}')
        held.retry.max_attempts = 50
        held.retry.retry_on.append("*")
        workflow_id = await self._client.start(f"case-{number}", [held])
        holder, running = await self._started(f"{workflow_id}/held", after_fence=0)
        await self._strike(kind, holder, running)
        gate.touch()
        await self._client.watch(workflow_id)

    async def _strike(self, kind, holder, running):
        if kind == "service stopped":
            async with self._service_stops:
                self._field.signal(signal.SIGSTOP)
                await pass_time(self._chance.uniform(0, SERVICE_STOPS_S))
                self._field.signal(signal.SIGCONT)
            return
        async with self._stops[holder]:
            if holder not in self._executors:
                return  # Another case has killed it meanwhile.
            if kind == "killed":
                self._executors.remove(holder)
                await holder.kill()
                await self.add_executor()
                await self._started(running["key"], after_fence=running["fence"])
                return
            holder.signal(signal.SIGSTOP)
            mark = holder.mark
            if kind == "stopped too long":
                await self._started(running["key"], after_fence=running["fence"])
            else:
                await pass_time(ALONE_S if kind == ALONE else self._chance.uniform(0, MOMENT_S))
            holder.signal(signal.SIGCONT)
            if kind in ("stopped too long", ALONE):
                await holder.until("welcomed", after=mark)
                await pass_time(MOMENT_S)

    async def _started(self, key, after_fence):
        """The executor that runs a step with a newer fence, and what it wrote of that."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                for executor in self._executors:
                    for entry in executor.lines.told:
                        if entry["event"] == "started" and entry["key"] == key and entry["fence"] > after_fence:
                            return executor, entry
                await pass_time(LOOK_EVERY_S)


async def fight(directory, cases, seed, progress=lambda done: None, *, executors=EXECUTORS, kinds=KINDS, fencing=True):
    """Try so many cases. Returns what contradicts the ledgers, and how many late results were refused."""
    chance = random.Random(seed)
    places = asyncio.Semaphore(AT_ONCE)
    done = 0
    async with battlefield(directory) as field:
        await field.start(grace_ms=GRACE_MS, fencing=fencing)
        client = Client(field, field.client_ledger())
        fought = Fight(field, client, chance)
        async with asyncio.TaskGroup() as group:
            for _ in range(executors):
                group.create_task(fought.add_executor())

        async def one(number, kind):
            nonlocal done
            async with places:
                await fought.case(number, kind)
            done += 1
            progress(done)

        async with asyncio.TaskGroup() as group:
            for number in range(cases):
                group.create_task(one(number, chance.choice(kinds)))
        await client.close()
        _, tools = ledgers = read_client_and_tools(field)
        refused = [entry for entry in tools if entry["event"] == "acknowledged" and not entry["accepted"]]
        return contradictions(await read_log(field.database), *ledgers), len(refused)


def run(scale, seed, progress):
    target = TARGETS[scale]
    with tempfile.TemporaryDirectory() as folder:
        found, refused = asyncio.run(fight(Path(folder), target, seed, progress))
    with tempfile.TemporaryDirectory() as folder:
        alone = fight(Path(folder), CONTROL_CASES, seed, executors=1, kinds=(ALONE,), fencing=False)
        unfenced, _ = asyncio.run(alone)
    if not refused:
        found = [*found, "no late result was refused: the stops were too short to prove anything"]
    caught = any("which no tool finished" in each or "was acknowledged and" in each for each in unfenced)
    notes = f"{refused} late results were refused"
    return Row("stopped_processes", seed, target, target, tuple(map(Violation, found)), caught, notes)
