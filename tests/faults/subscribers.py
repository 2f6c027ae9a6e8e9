"""Subscribers see every position once and in order, however often they come back and whoever owns the log.

Many writers append at once. Subscribers leave in the middle and come back with their cursor; some are slow, and fall
behind what the log keeps in memory; and every now and then the store is closed and another takes the file over.
"""

import asyncio
import contextlib
import random
import tempfile
from pathlib import Path

from store.contract import Append, StoreClosedError
from store.event_log import EventLog
from store.limits import StoreLimits
from store.migrate import migrate
from store.records import numbers_of
from store.sqlite import SqliteBackend
from store.sqlite_reader import SqliteReader
from tests.contract.events import FakeClock, to_stream
from tests.faults.broken_logs import OverlappingLog, SequenceLog
from tests.faults.pauses import pass_time
from tests.faults.row import Row, Violation

TARGETS = {"make": 16_000, "faults": 1_600_000, "nightly": 320_000}
WRITERS = 16
TENANTS = ("one", "two")
APPEND_EVENTS = 40
TAKEOVERS = 8
LEAVES = 0.05
"""How often a subscriber leaves after a batch."""
SLOW_S = 0.2
CONTROL_EVENTS = 200
CONTROL_WRITERS = 8


class HastyBackend(SqliteBackend):
    """Does not wait for the disk: no power fails here."""

    synchronous = "OFF"


class Shard:
    """The log, and who owns it at the moment."""

    def __init__(self, path):
        self._path = path
        self._log = None
        self._is_open = asyncio.Event()

    async def owned(self):
        await self._is_open.wait()
        return self._log

    async def take_over(self):
        """Close the store, if there is one, and let another open the file."""
        self._is_open.clear()
        if self._log is not None:
            await self._log.close()
        reader = SqliteReader(self._path, connections=4)
        self._log = EventLog(HastyBackend(self._path), reader, clock=FakeClock(), limits=StoreLimits())
        await self._log.open()
        self._is_open.set()

    async def close(self):
        await self._log.close()


class Follower:
    """Whoever follows: its cursor, and what is wrong with what it was given."""

    def __init__(self, name, number_of=lambda event: event.position):
        self.name = name
        self.cursor = 0
        self.seen = 0
        self.complaints = []
        self._number_of = number_of

    def take(self, batch):
        for event in batch.events:
            number = self._number_of(event)
            if number <= self.seen:
                self.complaints.append(f"{self.name} was given {number} again, after {self.seen}")
            elif number > self.seen + 1:
                self.complaints.append(f"{self.name} was given {number} after {self.seen}: what is between was skipped")
            self.seen = number
        self.cursor = batch.position


async def write(shard, name, count):
    """Append so many events to a stream; what a closing store refuses is put to the next one."""
    tenant, version = TENANTS[name % len(TENANTS)], 0
    while version < count:
        part = to_stream(f"stream-{name}", min(APPEND_EVENTS, count - version), at=version, tenant=tenant)
        log = await shard.owned()
        with contextlib.suppress(StoreClosedError):
            await log.append(Append([part]))
            version += len(part.events)


async def follow(shard, follower, tenant, last, chance, *, is_slow):
    """Follow until the last event, over any number of subscriptions."""
    while follower.seen < last:
        log = await shard.owned()
        with contextlib.suppress(StoreClosedError):
            async for batch in log.subscribe(follower.cursor, tenant):
                follower.take(batch)
                if follower.seen >= last or chance.random() < LEAVES:
                    break
                await asyncio.sleep(0)
        if is_slow:
            await pass_time(chance.uniform(0, SLOW_S))


async def followed(path, events, seed, progress):
    """Write and follow so many events. Returns the complaints."""
    shard = Shard(path)
    await shard.take_over()
    everyone = [(Follower(f"follower {number} of all"), None, events) for number in range(3)]
    for tenant in TENANTS:
        sequenced = Follower(f"follower of {tenant}", lambda event: numbers_of(event.record).tenant_sequence)
        everyone.append((sequenced, tenant, events // len(TENANTS)))

    async def take_over_now_and_then():
        for number in range(1, TAKEOVERS):
            while everyone[0][0].seen < events * number // TAKEOVERS:
                await pass_time(0.01)
            await shard.take_over()
            progress(events * number // TAKEOVERS)

    async with asyncio.TaskGroup() as group:
        for name in range(WRITERS):
            group.create_task(write(shard, name, events // WRITERS))
        for number, (follower, tenant, last) in enumerate(everyone):
            own = random.Random(f"{seed}/{number}")
            group.create_task(follow(shard, follower, tenant, last, own, is_slow=number % 2 == 1))
        group.create_task(take_over_now_and_then())
    await shard.close()
    return [complaint for follower, _, _ in everyone for complaint in follower.complaints]


async def misled(log_class, seed):
    """What a follower of a broken log complains of."""
    log = log_class(random.Random(seed))
    follower = Follower("the follower")

    async def append_all():
        for _ in range(CONTROL_EVENTS // CONTROL_WRITERS):
            await log.append()

    async def follow_all():
        while True:
            async for batch in log.subscribe(follower.cursor):
                follower.take(batch)

    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow_all())
        writers = [group.create_task(append_all()) for _ in range(CONTROL_WRITERS)]
        await asyncio.wait(writers)
        following.cancel()
    return follower.complaints


def run(scale, seed, progress):
    events = TARGETS[scale]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        migrate(f"sqlite:///{path}")
        complaints = asyncio.run(followed(path, events, seed, progress))
    skipped = any("skipped" in each for each in asyncio.run(misled(SequenceLog, seed)))
    doubled = any("again" in each for each in asyncio.run(misled(OverlappingLog, seed)))
    caught = skipped and doubled
    return Row("subscribers", seed, events, events, tuple(map(Violation, complaints)), caught)
