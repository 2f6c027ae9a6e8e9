"""Executors that keep to the protocol, mostly: they hang, die, stop and come back, and answer with stale fences."""

import asyncio
import json

from podium.v1 import definition_pb2, value_pb2
from podium.v1 import executor_service_pb2 as pb
from service.tasks import Tasks
from tests.simulation.virtual_time import elapse

CANCELED = value_pb2.Failure(reason="CANCELED", message="told to stop")
KEEP = pb.HeldVerdict.ACTION_KEEP
SUBJECT = "executor"


def tool(name, **declared):
    return definition_pb2.ToolDefinition(name=name, input_schema_json='{"type": "object"}', **declared)


TOOLS = (
    tool("steady", idempotent=True),
    tool("shaky", idempotent=True),
    tool("rigid"),
    tool("stream", idempotent=True),
    tool("watched", idempotent=True, heartbeat_timeout_ms=2_000),
)


class Attempt:
    """One attempt on one executor."""

    def __init__(self, assignment):
        self.reference = assignment.attempt
        self.tool = assignment.tool
        self.timeout_s = assignment.timeout_ms / 1000
        self.connection = None
        """Where it may speak; None: until the next session, nowhere."""
        self.chunks = []
        self.outcome = None
        self.stopped = asyncio.Event()

    @property
    def key(self):
        reference = self.reference
        return reference.workflow_id, reference.step_id, reference.attempt, reference.fence

    def say(self, **item):
        if self.connection is not None:
            self.connection.send(pb.ExecutorItem(**item))

    def say_chunks(self, after=0):
        for sequence, data in enumerate(self.chunks[after:], after + 1):
            self.say(chunk=pb.AttemptChunk(attempt=self.reference, sequence=sequence, data=data))

    def say_outcome(self):
        if self.outcome is not None and self.connection is not None:
            self.connection.send(self.outcome)


class SimulatedExecutor:
    """One executor process."""

    def __init__(self, world, instance):
        self._world = world
        self._chance = world.chance
        self._instance = instance
        self._tasks = Tasks()
        self._awake = asyncio.Event()
        self._awake.set()
        self._leaving = False
        self.connection = None
        self.attempts = {}
        self.zombies = 0

    def start(self):
        self._tasks.spawn(self._serve())

    @property
    def idle(self):
        return not self.attempts and not self.zombies

    # What happens to it.

    async def die(self):
        """The process is gone. The service notices some time later."""
        await self._tasks.close()
        if self.connection is not None:
            self.break_connection()

    def break_connection(self, within_s=0.5):
        """The connection breaks, and each side notices when it does."""
        broken, chance = self.connection, self._chance
        if broken is None:
            return
        loop = asyncio.get_running_loop()
        loop.call_later(chance.uniform(0, within_s), broken.break_for_executor)
        # Now and then nobody tells the service, and it has to learn from the silence.
        loop.call_later(60.0 if chance.happens(0.2) else chance.uniform(0, within_s), broken.break_for_service)

    def stop(self):
        """As after SIGSTOP."""
        self._awake.clear()

    def go_on(self):
        """As after SIGCONT."""
        self._awake.set()

    def leave(self):
        """Want no more work."""
        self._leaving = True
        if self.connection is not None:
            self.connection.send(pb.ExecutorItem(leaving=pb.Leaving()))

    # Its sessions.

    async def _serve(self):
        while not (self._leaving and self.idle):
            await self._awake.wait()
            self.connection = self._world.connect(self)
            if self.connection is not None:
                async with Tasks() as tasks:
                    tasks.spawn(self._beat(self.connection))
                    await self._one_session(self.connection)
            for attempt in self.attempts.values():
                attempt.connection = None
            self.connection = None
            await elapse(self._chance.uniform(0.001, 1.0))

    async def _beat(self, connection):
        while True:
            await elapse(0.7)
            await self._awake.wait()
            connection.send(pb.ExecutorItem(heartbeat=pb.SessionHeartbeat()))

    async def _one_session(self, connection):
        held = list(self.attempts.values())
        holding = [pb.HeldAttempt(attempt=attempt.reference) for attempt in held]
        hello = pb.Hello(executor="simulated", instance_id=self._instance, tools=TOOLS, max_attempts=2, holding=holding)
        connection.send(pb.ExecutorItem(hello=hello))
        if self._world.faulty and self._chance.happens(0.1):
            # A bad line: it breaks again while attempts are claimed on it.
            self.break_connection(within_s=0.1)
        items = await connection.receive()
        await self._awake.wait()
        if items is None:
            return
        if not items[0].HasField("welcome"):
            self._world.ledger.violations.append("a session began with something else than a welcome")
            return
        self._welcomed(connection, items[0].welcome, held)
        if self._leaving:
            connection.send(pb.ExecutorItem(leaving=pb.Leaving()))
        items = items[1:]
        while items is not None:
            for item in items:
                self._received(connection, item)
            if self._leaving and self.idle:
                connection.half_close()
            items = await connection.receive()
            await self._awake.wait()

    def _welcomed(self, connection, welcome, held):
        for attempt, verdict in zip(held, welcome.held, strict=True):
            assert attempt.reference == verdict.attempt
            if verdict.action == KEEP:
                attempt.connection = connection
                attempt.say_chunks(after=verdict.resume_after_chunk)
                attempt.say_outcome()
            else:
                self._abandon(attempt)

    def _abandon(self, attempt):
        self.attempts.pop(attempt.key, None)
        if self._world.faulty and self._chance.happens(0.5):
            # It does not listen, and will report all the same.
            self.zombies += 1
            self._tasks.spawn(self._report_late(attempt))
        attempt.stopped.set()

    async def _report_late(self, attempt):
        await elapse(self._chance.uniform(0, self._chance.choice([1, 3, 10])))
        if self.connection is not None:
            late = attempt.outcome or self._success(attempt)
            self.connection.send(late)
        self.zombies -= 1

    def _received(self, connection, item):
        match item.WhichOneof("item"):
            case "assign":
                attempt = Attempt(item.assign)
                attempt.connection = connection
                self._world.ledger.started(attempt.key)
                self.attempts[attempt.key] = attempt
                self._tasks.spawn(self._work(attempt))
            case "cancel":
                attempt = self._find(item.cancel.attempt)
                if attempt is not None and not (self._world.faulty and self._chance.happens(0.3)):
                    attempt.stopped.set()
            case "outcome_acknowledged":
                settled = item.outcome_acknowledged
                self._world.ledger.acknowledged(settled)
                attempt = self._find(settled.attempt)
                if attempt is not None:
                    self.attempts.pop(attempt.key).stopped.set()

    def _find(self, reference):
        return self.attempts.get((reference.workflow_id, reference.step_id, reference.attempt, reference.fence))

    # Its tools.

    async def _work(self, attempt):
        timer = asyncio.get_running_loop().call_later(attempt.timeout_s, attempt.stopped.set)
        try:
            outcome = await self._run(attempt)
        finally:
            timer.cancel()
        await self._awake.wait()
        attempt.outcome = outcome
        attempt.say_outcome()
        if self._world.faulty and self._chance.happens(0.1):
            attempt.say_outcome()

    async def _run(self, attempt):
        chance, faulty = self._chance, self._world.faulty
        attempt.say(accepted=pb.AttemptAccepted(attempt=attempt.reference))
        if faulty and chance.happens(0.08):
            await attempt.stopped.wait()
        if attempt.tool == "stream":
            for number in range(chance.randint(1, 4)):
                await self._pass_time(attempt, 0.3)
                attempt.chunks.append(f"{attempt.reference.fence}:{number};".encode())
                attempt.say_chunks(after=number)
        beating = attempt.tool == "watched" and not (faulty and chance.happens(0.3))
        for _ in range(chance.randint(1, 4)):
            await self._pass_time(attempt, 1.0)
            if beating:
                attempt.say(attempt_heartbeat=pb.AttemptHeartbeat(attempt=attempt.reference))
        if attempt.stopped.is_set():
            return self._failure(attempt, CANCELED)
        if attempt.tool == "shaky" and chance.happens(0.5):
            return self._failure(attempt, value_pb2.Failure(reason="SHAKY", message="not now", retryable=True))
        if attempt.tool == "rigid" and chance.happens(0.2):
            return self._failure(attempt, value_pb2.Failure(reason="RIGID", message="never"))
        return self._success(attempt)

    async def _pass_time(self, attempt, at_most_s):
        try:
            async with asyncio.timeout(self._chance.uniform(0, at_most_s)):
                await attempt.stopped.wait()
        except TimeoutError:
            pass
        await self._awake.wait()

    def _success(self, attempt):
        output = value_pb2.Value(json=json.dumps({"n": 3, "by": list(attempt.key)}))
        result = pb.AttemptResult(attempt=attempt.reference, output=output, chunk_count=len(attempt.chunks))
        return pb.ExecutorItem(result=result)

    def _failure(self, attempt, failure):
        return pb.ExecutorItem(failure=pb.AttemptFailure(attempt=attempt.reference, failure=failure))
