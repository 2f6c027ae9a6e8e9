"""(f) Replay: how many events a second one core folds, of histories that a real service has recorded.

What is timed is the code that serves: the rebuild of the replay service, and the engine's loading of a workflow, each
from the whole records to the state. The records are in memory before the clock starts: the disk is not measured here.
"""

import asyncio
import gc
import statistics
import time

from podium.v1 import value_pb2
from service.clock import SystemClock
from service.domain.rebuild import rebuild
from service.engine.keys import WorkflowKey
from service.engine.residency import Residency
from service.engine.resident import Resident
from service.engine.snapshots import Snapshots
from store.records import decode_record
from tests.benchmarks.histories import read_histories
from tests.benchmarks.measurement import Goal, measurement
from tests.benchmarks.rig import database, deployed

GOAL = Goal("400,000 events/s a core", at_least=400_000)
CHAINS = 500
QUICK_CHAINS = 50
FANS = 10
ROUNDS = 5
PARK_AFTER_US = 10**12


def measure(options):
    """Record histories of sequential and of parallel steps, and fold them in both ways in which the service does."""
    with database("sqlite") as on:
        with deployed(on) as rig:
            rig.load("a", workflows=QUICK_CHAINS if options.quick else CHAINS)
            rig.load("c", workflows=FANS)
        histories = asyncio.run(read_histories(on.url))
    records = [event.record for history in histories for event in history]
    notes = f"{len(records)} events of {len(histories)} workflows, {statistics.fmean(map(len, records)):.0f} bytes each"
    for measure_name, fold in (("f replay", rebuilt), ("f load", loaded)):
        rates = [events_per_s(fold, histories) for _ in range(max(options.rounds, ROUNDS))]
        yield measurement(measure_name, "", rates, "events/s", goal=GOAL, notes=notes)


def rebuilt(histories):
    """Fold histories as the replay service does, one after the other, and return how each workflow ended."""
    return {rebuild([event.record for event in history], decode_record).state for history in histories}


def loaded(histories):
    """Load workflows as the engine does on demand, one after the other, and return how each ended."""

    async def load():
        log = _RecordsInMemory(histories)
        residency = Residency(log, Snapshots(log, b""), SystemClock(), PARK_AFTER_US)
        endings = set()
        for history in histories:
            resident = Resident(WorkflowKey(history[0].tenant, history[0].stream_id))
            await residency.load(resident)
            endings.add(resident.state.state)
        return endings

    return asyncio.run(load())


def events_per_s(fold, histories):
    """Events that a fold takes in a second of CPU; every workflow must have succeeded, as the real ones did."""
    gc.collect()
    # As the service does when it has started: what is there already is not looked at by collections.
    gc.freeze()
    started_s = time.process_time()
    endings = fold(histories)
    took_s = time.process_time() - started_s
    gc.unfreeze()
    assert endings == {value_pb2.WORKFLOW_STATE_SUCCEEDED}, "not every history was folded to its end"
    return sum(len(history) for history in histories) / took_s


class _RecordsInMemory:
    """The log's read side, over what was read already."""

    def __init__(self, histories):
        self._streams = {(history[0].tenant, history[0].stream_id): history for history in histories}

    async def read_stream(self, tenant, stream_id, after_version=0, limit=None):
        end = None if limit is None else after_version + limit
        return self._streams[tenant, stream_id][after_version:end]

    async def read_snapshot(self, tenant, stream_id):
        return None
