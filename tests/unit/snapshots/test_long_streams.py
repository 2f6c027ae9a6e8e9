"""What a snapshot is for: a stream of 100,000 events is in memory long before it could be folded."""

import gc
import time

import pytest

from service.domain.canonical import state_digest
from service.engine.residency import Residency
from service.engine.resident import Resident
from service.engine.snapshots import Snapshots
from store.contract import Append, StreamAppend
from tests.contract.events import FakeClock
from tests.unit.snapshots.conftest import SECRET
from tests.unit.snapshots.long_stream import KEY, new_events

STEPS = 33_000
SPARED = 0.7
"""What loading may cost of the fold, in processor time. It was a quarter where it was measured."""


@pytest.fixture
async def long_log(log_at, tmp_path):
    """A log in a file with a stream of 100,000 events."""
    async with log_at(tmp_path / "log.db") as log:
        events = new_events(STEPS)
        await log.append(Append([StreamAppend(*KEY, 0, events)]))
        assert log.head == len(events) > 99_000
        yield log


async def test_a_stream_of_100_000_events_is_loaded_from_its_snapshot(long_log):
    folded, fold_s = await timed_load(long_log)
    assert folded.snapshot_version == 0
    await Snapshots(long_log, SECRET).write(folded)
    loaded, load_s = min([await timed_load(long_log) for _ in range(3)], key=lambda each: each[1])
    assert loaded.snapshot_version == loaded.version == long_log.head
    assert state_digest(loaded.state) == state_digest(folded.state)
    assert load_s < SPARED * fold_s, f"{load_s:.2f} s with a snapshot, {fold_s:.2f} s without"


async def timed_load(log):
    """The workflow, loaded anew, and the processor time that took in seconds."""
    resident = Resident(KEY)
    residency = Residency(log, Snapshots(log, SECRET), FakeClock(), 1)
    gc.collect()
    began_s = time.process_time()
    await residency.load(resident)
    return resident, time.process_time() - began_s
