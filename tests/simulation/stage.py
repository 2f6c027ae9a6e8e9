"""A stage for one play: a service on virtual time without faults, and executors that do what the test says."""

import asyncio
import contextlib

from podium.v1 import definition_pb2, tool_service_pb2, value_pb2, workflow_service_pb2
from podium.v1 import executor_service_pb2 as pb
from service.tasks import Tasks
from tests.contract.model import ModelDatabase
from tests.simulation.executors import tool
from tests.simulation.invariants import CommittedLog
from tests.simulation.service_life import SETTINGS, ServiceLife
from tests.simulation.unreliable_store import UnreliableStore
from tests.simulation.virtual_time import SeededChance, VirtualClock, elapse, run_virtually
from tests.simulation.wire import Connection

WITHIN_S = 5_000
TOOLS = (tool("work", idempotent=True), tool("watched", idempotent=True, heartbeat_timeout_ms=2_000))


class PlayedExecutor:
    """An executor whose every word is the test's."""

    def __init__(self, connection, welcome):
        self.welcome = welcome
        self._connection = connection
        self._heard = []
        self._ended = False
        self._news = asyncio.Event()
        self._tasks = Tasks()
        self._tasks.spawn(self._read())
        self._tasks.spawn(self._beat())

    async def _read(self):
        while (items := await self._connection.receive()) is not None:
            self._heard += items
            self._news.set()
        self._ended = True
        self._news.set()

    async def _beat(self):
        while True:
            await elapse(1)
            self._connection.send(pb.ExecutorItem(heartbeat=pb.SessionHeartbeat()))

    async def hear(self, kind):
        """The next item of a kind."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                for item in self._heard:
                    if item.WhichOneof("item") == kind:
                        self._heard.remove(item)
                        return getattr(item, kind)
                assert not self._ended, f"the session ended without {kind}"
                self._news.clear()
                await self._news.wait()

    async def hear_the_end(self):
        async with asyncio.timeout(WITHIN_S):
            while not self._ended:
                self._news.clear()
                await self._news.wait()

    def hears_nothing(self):
        return not self._heard

    def succeed(self, assigned, output="null", *, chunks=0):
        value = value_pb2.Value(json=output) if isinstance(output, str) else output
        result = pb.AttemptResult(attempt=assigned.attempt, output=value, chunk_count=chunks)
        self._connection.send(pb.ExecutorItem(result=result))

    def fail(self, assigned, reason="BROKEN"):
        failure = value_pb2.Failure(reason=reason, message="no", retryable=True)
        self._connection.send(pb.ExecutorItem(failure=pb.AttemptFailure(attempt=assigned.attempt, failure=failure)))

    def stream(self, assigned, *pieces, after=0):
        """Chunks of the output, which follow so many."""
        for sequence, data in enumerate(pieces, after + 1):
            chunk = pb.AttemptChunk(attempt=assigned.attempt, sequence=sequence, data=data)
            self._connection.send(pb.ExecutorItem(chunk=chunk))

    def beat(self, assigned):
        """A sign of life of the tool."""
        beat = pb.AttemptHeartbeat(attempt=assigned.attempt)
        self._connection.send(pb.ExecutorItem(attempt_heartbeat=beat))

    async def outcome(self):
        """What the service says to the last outcome, and whether it accepted it."""
        return (await self.hear("outcome_acknowledged")).accepted

    def vanish(self, *, noticed=True):
        """The connection is gone; the service sees it at once, or not before the silence is too long."""
        self._connection.break_for_executor()
        if noticed:
            self._connection.break_for_service()

    async def close(self):
        await self._tasks.close()


class Stage:
    """The service, and what is durable."""

    def __init__(self, loop, settings):
        self.database = ModelDatabase()
        self.log = CommittedLog(self.database)
        self._loop = loop
        self._settings = settings
        self.clock = VirtualClock(loop)
        self._chance = SeededChance("stage")
        self._played = []
        self.life = None

    @property
    def now_s(self):
        return self._loop.time()

    async def begin(self):
        store = UnreliableStore(self.database, self.clock, self._chance)
        self.life = ServiceLife(store, self.clock, self._chance, self._settings)
        await self.life.begin()
        for definition in TOOLS:
            await self.ask("tools", "RegisterTool", tool_service_pb2.RegisterToolRequest(definition=definition))

    async def crash_and_begin(self):
        await self.life.crash(committing=False)
        await self.begin()

    async def ask(self, service, method, request):
        return await self.life.call(getattr(getattr(self.life, service), method), request, "tester")

    async def start(self, *steps, is_open=False):
        request = workflow_service_pb2.StartWorkflowRequest(steps=steps, open=is_open)
        return (await self.ask("workflows", "StartWorkflow", request)).workflow_id

    async def add(self, workflow_id, *steps):
        await self.ask(
            "workflows", "AddSteps", workflow_service_pb2.AddStepsRequest(workflow_id=workflow_id, steps=steps)
        )

    async def executor(self, instance="one", holding=(), max_attempts=4, tools=TOOLS):
        """An executor that has been welcomed."""
        connection = Connection(self._loop, self._chance, self.life, "executor")
        held = [pb.HeldAttempt(attempt=assigned.attempt) for assigned in holding]
        hello = pb.Hello(executor="played", instance_id=instance, tools=tools, max_attempts=max_attempts, holding=held)
        connection.send(pb.ExecutorItem(hello=hello))
        (first,) = await connection.receive()
        played = PlayedExecutor(connection, first.welcome)
        self._played.append(played)
        return played

    def kept(self, played):
        """Which of the attempts that it held an executor may keep."""
        return [verdict.action == pb.HeldVerdict.ACTION_KEEP for verdict in played.welcome.held]

    def resident(self, workflow_id):
        """The workflow when it is in memory."""
        return self.life.engine.residency.get(("acme", workflow_id))

    def in_memory(self, workflow_id):
        return self.resident(workflow_id) is not None

    def parked_until_us(self, workflow_id):
        """The time in the table of open workflows; None: it is not parked."""
        return self.database.open["acme", workflow_id][1]

    async def until(self, condition, within_s=1_000):
        """Let time pass until something is so."""
        async with asyncio.timeout(within_s):
            while not condition():
                await elapse(0.001)

    async def until_ended(self, workflow_id, within_s=1_000):
        await self.until(lambda: self.log.ended(workflow_id), within_s)

    @contextlib.contextmanager
    def refusing_appends(self):
        """The writer's queue is full."""
        self.life.store.refusing = 1.0
        try:
            yield
        finally:
            self.life.store.refusing = 0.0

    async def close(self):
        for played in self._played:
            await played.close()
        await self.life.crash(committing=False)


def play(scene, settings=SETTINGS):
    """Run `scene(stage)` in virtual time."""

    async def main(loop):
        stage = Stage(loop, settings)
        await stage.begin()
        try:
            return await scene(stage)
        finally:
            await stage.close()

    return run_virtually(main)


def step(step_id="", uses="work", needs=(), **more):
    return definition_pb2.StepDefinition(id=step_id, tool=uses, depends_on=needs, **more)
