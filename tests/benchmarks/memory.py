"""(h) Memory: what a service's process holds when it is idle, and with 100,000 open workflows, parked and not.

A parked workflow is in the database alone, but for the timer of one that waits for a time; one that is not is in memory
with its whole state, here of two ended steps. Read when the service has done what a start makes it do.
"""

import asyncio

import podium
from tests.benchmarks.many_open import OPEN, write_mostly_parked, write_unparked
from tests.benchmarks.measurement import Goal, measurement
from tests.benchmarks.quiet import until_quiet
from tests.benchmarks.rig import database, deployed, resident_bytes

IDLE = Goal("under 150 MB", at_most=150)
WITH_MANY = Goal("under 1 GiB with 100,000 open", at_most=1024 * 1024 * 1024 / 1e6)
QUICK_WORKFLOWS = 2_000
STATES = (
    ("h idle", IDLE, None, "no workflow"),
    ("h parked", WITH_MANY, write_mostly_parked, "99 of 100 are parked; the others run and are in memory"),
    ("h unparked", WITH_MANY, write_unparked, "none was parked; the start parks those that are too many in memory"),
)


def measure(options):
    """Start a service on an empty log and on two with many open workflows, and read what it holds."""
    workflows = QUICK_WORKFLOWS if options.quick else OPEN
    for store in options.stores:
        for name, goal, write, notes in STATES:
            with database(store) as on:
                if write is not None:
                    write(on, workflows)
                    notes = f"{workflows:,} open workflows: {notes}"  # noqa: PLW2901 - it is told with the number
                held = [held_mb(on) for _ in range(1 if options.quick else options.rounds)]
            yield measurement(name, store, held, "MB", goal=goal, versions=on.versions, notes=notes)


def held_mb(on):
    """Megabytes of memory of a service that was just started and has answered once."""
    with deployed(on, executor=False) as rig:
        asyncio.run(_ask(rig))
        until_quiet(rig.service_pid)
        return resident_bytes(rig.service_pid) / 1e6


async def _ask(rig):
    async with podium.connect(rig.address, rig.token) as client:
        await client.tools()
