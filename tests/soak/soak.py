"""A soak from beginning to end: measure the highest load, apply a part of it for long, let everything end, judge."""

import asyncio
import contextlib
import gc
import json
import random
import time
from dataclasses import asdict, dataclass, field

from tests.faults.pauses import pass_time
from tests.integration.rig.caller import Caller
from tests.integration.rig.policies import apply
from tests.integration.rig.service_process import ServiceProcess
from tests.soak.callers import Callers
from tests.soak.flapping import ODD, Flapping
from tests.soak.guarding import guarding
from tests.soak.judgement import findings, growth_mib, leftovers
from tests.soak.looking import Look

SERVICE = "tests.soak.soaked_service"
TENANT = "soak"
CONNECTIONS = 4
EXECUTORS = 2
SERVED = ("quick", "slow", "known", "moody", "wary")
WAITS_MS = 1_000
"""What waits behind a guard when its executors go away for good waits no longer than this."""
QUIET_WITHIN_S = 30.0
"""Attempts that hang, the grace for executors that are gone, sessions that are dead: all of them are over by then."""


@dataclass(frozen=True)
class Plan:
    """What is done."""

    seconds: float
    load: float = 0.7
    """Which part of the highest load."""
    measuring_s: float = 5.0
    samples: int = 120
    kill_every_s: float = 7.0
    quiet_within_s: float = QUIET_WITHIN_S
    leaks: str = ""
    """What is leaked, in a negative control: of memory, files, tasks, places and permits, joined by commas."""
    seed: int = 1


@dataclass
class Report:
    """What came of it."""

    highest_per_s: float
    applied_per_s: float
    seconds: float
    before: object
    after: object
    samples: list
    outcomes: dict
    kills: int
    findings: list = field(default_factory=list)

    def as_json(self):
        return json.dumps({**asdict(self), "growth_mib": growth_mib(self.samples)})


class Soaked:
    """The service, its callers and its executors."""

    def __init__(self, directory, plan):
        self._plan = plan
        self._log = (directory / "executors.log").open("ab")
        self._holdings = directory / "holdings.json"
        self._service = _Process(directory, self._holdings, plan.leaks)
        self._chance = random.Random(plan.seed)

    async def run(self):
        """Raises TimeoutError when the service does not come to rest before anything was done."""
        plan = self._plan
        self._service.start()
        try:
            await self._guard()
            look = Look(self._service.process_id, self._service.port, self._holdings, time.monotonic)
            async with self._connected() as (callers, _):
                highest = await callers.highest_rate(plan.measuring_s)
            before = await self._at_rest(look, None)
            async with self._connected() as (callers, flapping):
                samples = []
                tasks = [asyncio.create_task(self._sample(look, samples))]
                tasks += [asyncio.create_task(each.flap(plan.kill_every_s)) for each in flapping]
                await callers.call_at(highest * plan.load, plan.seconds)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await callers.finish()
            after = await self._at_rest(look, before)
            kills = sum(each.kills for each in flapping)
            applied, outcomes = highest * plan.load, dict(callers.outcomes)
            report = Report(highest, applied, plan.seconds, before, after, samples, outcomes, kills)
            report.findings = findings(before, samples, after)
            return report
        finally:
            await asyncio.to_thread(self._service.stop)
            self._log.close()

    def _caller(self, subject):
        return Caller(self._service.address, self._service.token(subject, tenant=TENANT))

    async def _guard(self):
        """Let the guards of the soaked tenant have something to do."""
        caller = self._caller("operator")
        await apply(caller, guarding())
        await caller.close()

    @contextlib.asynccontextmanager
    async def _connected(self):
        """Callers and executors, which are gone afterwards."""
        each = [self._caller(f"caller-{number}") for number in range(CONNECTIONS)]
        token = self._service.token("executor", tenant=TENANT)
        flapping = [Flapping(self._service.address, token, f"sdk-{n}", self._log) for n in range(EXECUTORS)]
        flapping.append(Flapping(self._service.address, token, "odd", self._log, ODD))
        for executor in flapping:
            executor.start()
        await each[0].register("odd")
        await self._are_served(each[0])
        try:
            yield Callers(each, self._chance), flapping
        finally:
            for executor in flapping:
                await executor.stop()
            for caller in each:
                await caller.close()

    async def _are_served(self, caller):
        """Wait until the tools of the SDK's executors can be called."""
        async with asyncio.timeout(QUIET_WITHIN_S):
            for tool in SERVED:
                while True:
                    with contextlib.suppress(Exception):
                        await caller.call(tool, {"value": 1})
                        break
                    await pass_time(0.1)

    async def _sample(self, look, samples):
        while True:
            samples.append(look.sample())
            await pass_time(self._plan.seconds / self._plan.samples)

    async def _at_rest(self, look, before):
        """The service once it holds nothing, or as it is when that takes too long."""
        began_s, sample = time.monotonic(), None
        # The callers' ends of connections are closed when nothing here refers to a call of theirs any more.
        gc.collect()
        while sample is None or time.monotonic() < began_s + self._plan.quiet_within_s:
            # What it holds is written down ten times a second.
            await pass_time(0.3)
            sample = look.sample()
            if not leftovers(before or sample, sample):
                break
        return sample


class _Process(ServiceProcess):
    """The service, as tests.soak.soaked_service runs it."""

    child = SERVICE

    def __init__(self, directory, holdings, leaks):
        super().__init__(directory, reconnect_grace_ms=1_000, heartbeat_interval_ms=500, schedule_to_start_ms=WAITS_MS)
        self.child_variables = {"SOAK_HOLDINGS": str(holdings), "SOAK_LEAKS": leaks}
