"""(i) Growth: what a step costs with 10 million events in the log, against 10,000; and what an event takes on Postgres.

The large log is of real histories under other ids, made in bulk; its read models begin at its end, so their own growth
is not in the figures. Both services run, and take the load in turns.
"""

import asyncio
from contextlib import ExitStack

from tests.benchmarks.bulk_log import Bulk, History, write_log
from tests.benchmarks.histories import ended_history
from tests.benchmarks.measurement import Goal, measurement
from tests.benchmarks.quiet import until_quiet
from tests.benchmarks.rig import database, deployed, free_bytes
from tests.postgres import operator

SMALL, LARGE, QUICK = 10_000, 10_000_000, 1_000_000
DISK_BYTES_AN_EVENT = 1_200
"""On Postgres the log of changes and the tables together; SQLite takes less."""
COST = Goal("within 1.1 of the small log", at_most=1.1)
OVERHEAD = Goal("at most the record and 200 bytes, with all indexes", at_most=200)
ROUNDS = 5
EVENTS_TABLE = "SELECT pg_total_relation_size('events') AS bytes, (SELECT count(*) FROM events) AS events"


def measure(options):
    """Put the load of (a) on a service with a small log and on one with a large, in turns, and compare a step."""
    large = QUICK if options.quick else LARGE
    history = History(ended_history())
    for store in options.stores:
        with ExitStack() as stack:
            logs = {}
            for name, events in (("small", SMALL), ("large", large)):
                on = stack.enter_context(database(store))
                refuse_small_disk(on.folder, events)
                written = write_log(on, [Bulk(history, events // len(history))])
                logs[name] = on, written
            on, written = logs["large"]
            if store == "postgres":
                for each, _ in logs.values():
                    asyncio.run(_settle(each.url))
                yield _bytes_an_event(on, written)
            rigs = {name: stack.enter_context(deployed(each)) for name, (each, _) in logs.items()}
            yield from _compared(store, rigs, max(options.rounds, ROUNDS), f"{written.head:,} events against {SMALL:,}")


def refuse_small_disk(folder, events):
    """Raise RuntimeError where a log of so many events could fill the disk."""
    needed = events * DISK_BYTES_AN_EVENT
    if free_bytes(folder) < 2 * needed:
        raise RuntimeError(f"{folder} has less than {2 * needed / 1e9:.0f} GB free, twice what the log may take")


def _compared(store, rigs, rounds, notes):
    """The cost of a step with the large log over that with the small one: the CPU of all parts, and the time."""
    for rig in rigs.values():
        until_quiet(rig.service_pid)
        rig.load("a", workflows=50)
    cpu, seconds = [], []
    for _ in range(rounds):
        costs = {name: _cost_of_a_step(rig) for name, rig in rigs.items()}
        cpu.append(costs["large"][0] / costs["small"][0])
        seconds.append(costs["large"][1] / costs["small"][1])
    versions = rigs["large"].versions
    yield measurement("i cpu a step", store, cpu, "×", goal=COST, versions=versions, notes=notes)
    yield measurement("i time a step", store, seconds, "×", goal=COST, versions=versions, notes=notes)


def _cost_of_a_step(rig):
    before = rig.cpu()
    found = rig.load("a", workflows=400)
    return (rig.cpu() - before).total_s / found.steps, found.seconds / found.steps


async def _settle(url):
    """Let Postgres do at once what it would do in the background while we measure."""
    async with operator(url) as connection:
        await connection.execute("VACUUM (ANALYZE, FREEZE)")
        await connection.execute("CHECKPOINT")


def _bytes_an_event(on, written):
    async def ask():
        async with operator(on.url) as connection:
            return await connection.fetchrow(EVENTS_TABLE)

    found = asyncio.run(ask())
    assert found["events"] == written.head, "not every event was written"
    record = written.record_bytes / written.head
    return measurement(
        "i bytes over the record",
        on.store,
        [found["bytes"] / found["events"] - record],
        "bytes/event",
        goal=OVERHEAD,
        versions=on.versions,
        notes=f"table and indexes of {written.head:,} events, of {record:.0f} bytes each in the record",
    )
