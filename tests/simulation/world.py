"""A world in a seed: a service that crashes, executors that fail, clients that insist, and what must still be true."""

import asyncio
import math
from dataclasses import dataclass

from podium.v1 import tool_service_pb2
from service.tasks import Tasks
from tests.contract.model import ModelDatabase
from tests.faults.history import History, refute, requests_in
from tests.simulation import invariants
from tests.simulation.clients import Clients
from tests.simulation.executors import SUBJECT, TOOLS, SimulatedExecutor
from tests.simulation.service_life import ServiceLife
from tests.simulation.unreliable_store import Ownership, UnreliableStore
from tests.simulation.virtual_time import SeededChance, VirtualClock, elapse, run_virtually
from tests.simulation.wire import Connection

FAULTS_FOR_S = 30.0
REFUSALS_FOR_S = 15.0
"""After the faults, the store goes on refusing for a while: nobody's places may be lost by that."""
ENDS_WITHIN_S = 400.0
DISKS_S = (0.02, 0.4, 1.5)
"""What a commit takes at most, on a disk that is quick, busy or slow: one for each life of the service."""
CLIENTS = 8
EXECUTORS = 2


@dataclass(frozen=True)
class Rules:
    """What of the service is at work. Each is true but in a negative control."""

    fencing: bool = True
    reconciling: bool = True
    owning: bool = True
    """Whether the epoch of the log's owner fences the owners before it."""
    dropped_wakes: float = 0.05
    """How often a timer's wake-up is lost while there are faults."""
    dropped_wakes_max: float = math.inf


class World:
    """Everything outside of the service, and the service's life of the moment."""

    def __init__(self, loop, seed, rules, on_life=None):
        self.chance = SeededChance(f"world {seed}")
        self.faulty = True
        self.database = ModelDatabase()
        self.log = invariants.CommittedLog(self.database)
        self.ledger = invariants.WorldLedger(self.log)
        self.history = History()
        self._ownership = Ownership(is_enforced=rules.owning)
        self._on_life = on_life
        self._dropped_wakes = 0
        self._loop = loop
        self._rules = rules
        self._clock = VirtualClock(loop)
        self._life = None
        self._up = asyncio.Event()
        self._executors = []
        self._instances = 0
        self._dying = Tasks()

    async def serving(self):
        """The service, as soon as it is there."""
        await self._up.wait()
        return self._life

    def connect(self, executor):
        """A connection to the service; None: it is away."""
        del executor
        return Connection(self._loop, self.chance, self._life, SUBJECT) if self._up.is_set() else None

    async def run(self):
        """Run to the end."""
        await self._start_service()
        for definition in TOOLS:
            request = tool_service_pb2.RegisterToolRequest(definition=definition)
            await self._life.call(self._life.tools.RegisterTool, request, SUBJECT)
        for _ in range(EXECUTORS):
            self._add_executor()
        async with Tasks() as tasks:
            tasks.spawn(self._faults())
            tasks.spawn(self._look_after_attempts())
            try:
                async with asyncio.timeout(FAULTS_FOR_S + ENDS_WITHIN_S):
                    await Clients(self).run(CLIENTS, FAULTS_FOR_S + REFUSALS_FOR_S)
                    await self._quiescence()
            except TimeoutError:
                stuck = [name for name in self.log.workflows() if not self.log.ended(name)]
                self.ledger.violations.append(f"stuck: {stuck or 'no workflow'}")
            else:
                await self._verify()
        for executor in self._executors:
            await executor.die()
        await self._dying.close()
        await self._life.crash(committing=False)

    # The service.

    async def _start_service(self):
        disk_s = self.chance.choice(DISKS_S)
        store = UnreliableStore(self.database, self._clock, self.chance, ownership=self._ownership, commit_max_s=disk_s)
        life = ServiceLife(store, self._clock, self.chance)
        await life.begin(reconciling=self._rules.reconciling)
        wake, attempts = life.engine.wake, life.engine.attempts

        def fire(key):
            if not self._loses_a_wake():
                wake(key)

        life.engine.timers._fire = fire  # noqa: SLF001 - the simulation loses a wake-up
        if self._on_life is not None:
            self._on_life(life)
        if not self._rules.fencing:
            attempts.find = lambda tenant, reference: attempts.of_step(
                (tenant, reference.workflow_id, reference.step_id)
            )
        self._life = life
        self._up.set()

    async def _crash_service(self):
        self._up.clear()
        await self._life.crash(committing=self.chance.happens(0.5))
        await elapse(self.chance.uniform(0, 3))
        await self._start_service()

    async def _depose_service(self):
        """Another service takes over while this one runs on: it finds out with its next commit, or is gone first."""
        deposed = self._life
        await self._start_service()
        await elapse(self.chance.uniform(0, 5))
        await deposed.crash(committing=self.chance.happens(0.5))

    def _loses_a_wake(self):
        loses = self.faulty and self.chance.happens(self._rules.dropped_wakes)
        loses = loses and self._dropped_wakes < self._rules.dropped_wakes_max
        self._dropped_wakes += loses
        return loses

    # Executors.

    def _add_executor(self):
        self._instances += 1
        executor = SimulatedExecutor(self, f"instance-{self._instances}")
        self._executors.append(executor)
        executor.start()

    async def _replace(self, executor):
        self._executors.remove(executor)
        await executor.die()
        await elapse(self.chance.uniform(0, 2))
        self._add_executor()

    async def _stop_for_a_while(self, executor):
        executor.stop()
        await elapse(self.chance.uniform(0, 12))
        executor.go_on()

    # Faults.

    async def _faults(self):
        ends_s = self._loop.time() + FAULTS_FOR_S
        while self._loop.time() < ends_s:
            await elapse(self.chance.expovariate(0.5))
            await self._one_fault()
            self._life.store.refusing = self.chance.choice([0, 0, 0, 0.1])
        self._life.store.refusing = 0.1
        await elapse(REFUSALS_FOR_S)
        self._life.store.refusing = 0
        self.faulty = False

    async def _look_after_attempts(self):
        while True:
            await elapse(1)
            self.ledger.violations += invariants.held_by_nobody(self._life)

    async def _one_fault(self):
        executor = self.chance.choice(self._executors)
        kind = self.chance.random()
        if kind < 0.2:
            await self._crash_service()
        elif kind < 0.28:
            await self._depose_service()
        elif kind < 0.55:
            executor.break_connection()
        elif kind < 0.7:
            await self._replace(executor)
        elif kind < 0.85:
            self._dying.spawn(self._stop_for_a_while(executor))
        else:
            executor.leave()
            self._executors.remove(executor)
            self._dying.spawn(self._until_left(executor))
            self._add_executor()

    async def _until_left(self, executor):
        while not executor.idle:
            await elapse(1)
        await executor.die()

    # The end.

    async def _quiescence(self):
        """Everything has ended: wait until nothing is on its way any more."""
        while self.faulty or len(self._dying) or not all(executor.idle for executor in self._executors):
            await elapse(1)
        await elapse(10)

    async def _verify(self):
        clients = Clients(self)
        for workflow_id in self.log.workflows():
            await clients.replay(workflow_id)
        self.ledger.violations += [
            *self.ledger.at_the_end(),
            *invariants.places(self._life),
            *invariants.epochs(self._ownership.commits),
            *refute(self.history.entries, requests_in(self.log.everything())),
        ]


def lived(seed, rules=None, on_life=None):
    """Live through a seed, and return what the world had become by then. `on_life` sees each life of the service."""

    async def live(loop):
        world = World(loop, seed, rules or Rules(), on_life)
        await world.run()
        return world

    return run_virtually(live, seed=seed)


def violations_of(seed, rules=None):
    """Live through a seed, and return everything that was wrong; an error that nobody expected is, too."""
    try:
        return lived(seed, rules).ledger.violations
    except Exception as error:  # noqa: BLE001 - it becomes a violation, with the seed that shows it
        return [f"the world broke down: {error!r}"]
