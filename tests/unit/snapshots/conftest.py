"""A log in memory with one long stream, and what loads it."""

import contextlib

import pytest

from service.engine.residency import Residency
from service.engine.resident import Resident
from service.engine.snapshots import Snapshots
from store.migrate import migrate
from store.sqlite import sqlite_log
from tests.contract.events import FakeClock
from tests.unit.snapshots.long_stream import KEY, new_events, recorded

SECRET = bytes(range(32))


class MemoryLog:
    """One stream and its snapshot."""

    def __init__(self, events):
        self.events = events
        self.snapshot = None
        self.events_read = 0

    async def read_stream(self, tenant, stream_id, after_version=0, limit=None):
        found = self.events[after_version:][:limit] if (tenant, stream_id) == KEY else []
        self.events_read += len(found)
        return found

    async def read_snapshot(self, tenant, stream_id):
        return self.snapshot

    async def write_snapshot(self, snapshot):
        self.snapshot = snapshot


@pytest.fixture
def log():
    return MemoryLog(recorded(new_events(400)))


@pytest.fixture
def load(log):
    """Loads the workflow as a start of the service does: `await load()`."""

    async def load(*, snapshots=None, key=KEY):
        resident = Resident(key)
        await Residency(log, snapshots or Snapshots(log, SECRET), FakeClock(), 1).load(resident)
        return resident

    return load


@pytest.fixture
def log_at():
    """Opens a log in a new file: `async with log_at(path) as log`."""

    @contextlib.asynccontextmanager
    async def opened(path):
        migrate(f"sqlite:///{path}")
        log = sqlite_log(path, clock=FakeClock())
        await log.open()
        yield log
        await log.close()

    return opened
