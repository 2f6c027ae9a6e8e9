"""Postgres breaks under a store that appends: every append is in the log once, or reported as failed and absent.

Four faults: the server is killed and started again; connections are cut or their backends terminated at any moment;
the reply to a statement that took effect is lost; a statement reaches the server after its connection was cut, once
the store has fenced it off, or a few appends later. Clients write down what they were told, and the history checker
holds that against the log.
"""

import asyncio
import random
from contextlib import asynccontextmanager

import asyncpg

from podium.v1 import events_pb2
from store.contract import SHARD, Append, NewEvent, OutcomeUnknownError, StoreError, StreamAppend
from store.event_log import EventLog
from store.limits import StoreLimits
from store.postgres import PostgresBackend, postgres_log
from store.postgres_lease import LeaseTimes
from store.postgres_reader import PostgresReader
from store.records import decode_record, encode_envelope
from tests.cable import Cable
from tests.contract.events import TENANT, FakeClock
from tests.faults.history import History, refute
from tests.faults.row import Row, Violation
from tests.postgres import PostgresServer

FAULTS = {
    "make": {"kill": 2, "cut": 40, "lose": 20, "delay": 10},
    "faults": {"kill": 100, "cut": 2_000, "lose": 1_000, "delay": 200},
    "nightly": {"kill": 20, "cut": 400, "lose": 200, "delay": 100},
}
TARGETS = {scale: sum(faults.values()) for scale, faults in FAULTS.items()}
CASES_A_DATABASE = 100
CLIENTS = 4
WITHIN_S = 60
CONTROL_CASES = 20
TIMES = LeaseTimes(statement_s=1, away_s=WITHIN_S)
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'podium writer'"


class UnfencedBackend(PostgresBackend):
    """A negative control: it reads the head instead of raising the epoch, and believes it."""

    async def _fence(self, cause, batch=None):
        await self._discard()
        self._connection = await self._connect()
        head = await self._connection.fetchval("SELECT head_position FROM shards")
        if batch is not None and head == batch.old_head:
            raise StoreError("the append is not in the log")
        return batch is not None


class Clients:
    """A few who append at once, and write down what they are told."""

    def __init__(self, log, history, name):
        self._log = log
        self._history = history
        self._name = name
        self._progress = asyncio.Event()
        self.refusals = []

    async def run(self):
        """Append until the log refuses."""
        async with asyncio.TaskGroup() as group:
            for client in range(CLIENTS):
                group.create_task(self._append(f"{self._name}.{client}"))

    async def progress(self):
        """Wait until an append that was not there before is acknowledged."""
        self._progress.clear()
        await self._progress.wait()

    async def _append(self, stream_id):
        version = 0
        while True:
            call = f"{stream_id}.{version}"
            envelope = encode_envelope(shard=SHARD, tenant=TENANT, stream_id=stream_id, correlation_id=call)
            events = [NewEvent(events_pb2.StepSkipped(step_id=call), envelope)] * (1 + version % 3)
            self._history.begin(call)
            try:
                await self._log.append(Append([StreamAppend(TENANT, stream_id, version, events)]))
            except StoreError as refusal:
                self._history.end(call, "unknown" if isinstance(refusal, OutcomeUnknownError) else "fail")
                self.refusals.append(refusal)
                self._progress.set()
                return
            self._history.end(call, "ok")
            version += len(events)
            self._progress.set()


class Faults:
    """Does to the server and the cable what a fault is."""

    def __init__(self, server, cable, clients, chance):
        self._server = server
        self._cable = cable
        self._clients = clients
        self._chance = chance

    async def do(self, kind):
        """One fault, and then wait until something is acknowledged again."""
        # At any moment of an append, which takes about a millisecond.
        await asyncio.sleep(self._chance.uniform(0, 0.002))
        await getattr(self, f"_{kind}")()
        if not self._clients.refusals:
            await self._clients.progress()

    async def _kill(self):
        await asyncio.to_thread(self._server.kill)
        await asyncio.to_thread(self._server.start)

    async def _cut(self):
        if self._chance.random() < 0.5:
            self._cable.cut()
            return
        connection = await asyncpg.connect(self._server.url())
        await connection.execute(TERMINATE)
        await connection.close()

    async def _lose(self):
        await self._cable.lose_next_reply()

    async def _delay(self):
        held = await self._cable.hold_next_statement()
        for _ in range(self._chance.randint(0, 2)):
            if not self._clients.refusals:
                await self._clients.progress()
        await held.release()


@asynccontextmanager
async def appending(server, name, backend_class):
    """Clients that append over a cable to a database of their own, and their history."""
    url = await server.create_database()
    async with Cable(url) as cable:
        log = EventLog(
            backend_class(cable.url, times=TIMES),
            PostgresReader(cable.url, connections=1),
            clock=FakeClock(),
            limits=StoreLimits(),
        )
        await log.open()
        history = History()
        clients = Clients(log, history, name)
        running = asyncio.ensure_future(clients.run())
        try:
            yield cable, clients, history, url
        finally:
            await log.close()
            await running


async def refuted(url, history):
    """What contradicts the history, in the log as it is in the end."""
    log = postgres_log(url, clock=FakeClock(), reader_connections=1)
    await log.open()
    records = []
    while page := await log.read_all(len(records)):
        records += [decode_record(event.record) for event in page]
    await log.close()
    whole = []
    for event in records:
        if not whole or whole[-1] != event.correlation_id:
            whole.append(event.correlation_id)
    return [*refute(history.entries, whole)]


async def break_often(server, kinds, chance, name, backend_class=PostgresBackend, progress=lambda: None):
    """Let one fault after the other happen to one database. Returns what was wrong."""
    async with appending(server, name, backend_class) as (cable, clients, history, url):
        faults = Faults(server, cable, clients, chance)
        # Until every stream is known, so that what is sent are appends.
        for _ in range(2 * CLIENTS):
            await clients.progress()
        for kind in kinds:
            async with asyncio.timeout(WITHIN_S):
                await faults.do(kind)
            if clients.refusals:
                break
            progress()
        refusals = list(clients.refusals)
    found = await refuted(url, history)
    found += [f"the store gave up: {refusal}" for refusal in refusals[:1]]
    await server.drop_database(url)
    return found


async def control(server, chance):
    """Whether a store that does not fence is found to say what is not so."""
    for number in range(CONTROL_CASES):
        found = await break_often(server, ["delay"], chance, f"control{number}", UnfencedBackend)
        if any("was refused and is in the log" in each for each in found):
            return True
    return False


async def run_on(server, scale, seed, progress):
    chance = random.Random(seed)
    kinds = [kind for kind, count in FAULTS[scale].items() for _ in range(count)]
    chance.shuffle(kinds)
    violations, done = [], 0

    def one_more():
        nonlocal done
        done += 1
        progress(done)

    for first in range(0, len(kinds), CASES_A_DATABASE):
        part = kinds[first : first + CASES_A_DATABASE]
        violations += await break_often(server, part, chance, f"{first}", progress=one_more)
    return done, violations, await control(server, chance)


def run(scale, seed, progress):
    server = PostgresServer(fsync=True)
    try:
        done, violations, control_found = asyncio.run(run_on(server, scale, seed, progress))
    finally:
        server.close()
    found = tuple(Violation(each) for each in violations)
    faults = ", ".join(f"{count:,} × {kind}" for kind, count in FAULTS[scale].items())
    return Row("postgres_outcomes", seed, done, TARGETS[scale], found, control_found, faults)
