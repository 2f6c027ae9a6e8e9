"""(g) Cold start: from the start of the process to the first answer, with 100,000 open workflows of which 99,000 are
parked.

The answer is a workflow's state, folded from the log. The read models are up to date, as a service leaves them.
"""

import asyncio
import time

import podium
from tests.benchmarks.many_open import OPEN, write_mostly_parked
from tests.benchmarks.measurement import Goal, measurement
from tests.benchmarks.quiet import until_quiet
from tests.benchmarks.rig import database, deployed

GOAL = Goal("under 3 s", at_most=3)
QUICK_WORKFLOWS = 5_000


def measure(options):
    """Write such a log, and start a service on it again and again."""
    workflows = QUICK_WORKFLOWS if options.quick else OPEN
    for store in options.stores:
        with database(store) as on:
            written = write_mostly_parked(on, workflows)
            started = [start_s(on, written.last.stream_id) for _ in range(options.rounds)]
        notes = f"{workflows:,} open workflows, one in a hundred not parked; until GetWorkflow answers of a parked one"
        yield measurement("g cold start", store, started, "s", goal=GOAL, versions=on.versions, notes=notes)


def start_s(on, workflow_id):
    """Seconds from the start of a service's process to its first answer. It has recovered when this returns."""
    began = time.perf_counter()
    with deployed(on, executor=False) as rig:
        asyncio.run(_ask(rig, workflow_id))
        took = time.perf_counter() - began
        until_quiet(rig.service_pid)
        return took


async def _ask(rig, workflow_id):
    async with podium.connect(rig.address, rig.token) as client:
        answered = await client.get(workflow_id)
        assert answered.open, answered
