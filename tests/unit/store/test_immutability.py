"""Stored events resist UPDATE, DELETE and REPLACE, from any connection."""

import sqlite3
from contextlib import closing

import pytest

from store.sqlite import sqlite_log
from tests.contract.events import append_to

CHANGES = {
    "events_refuse_update": "UPDATE events SET record = x'00' WHERE position = 2",
    "events_refuse_delete": "DELETE FROM events WHERE position = 2",
}
REPLACEMENTS = {
    "by position": "INSERT OR REPLACE INTO events SELECT shard, position, stream_key, 9, type, recorded_at_us, "
    "tenant_key, x'00' FROM events WHERE position = 2",
    "by version": "INSERT OR REPLACE INTO events SELECT shard, 9, stream_key, stream_version, type, recorded_at_us, "
    "tenant_key, x'00' FROM events WHERE position = 2",
}


@pytest.fixture
async def stored(database, clock):
    """A plain connection to a log of three events."""
    log = sqlite_log(database, clock=clock)
    await log.open()
    await log.append(append_to("a", 3))
    await log.close()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        yield connection


def records(connection):
    return connection.execute("SELECT position, record FROM events ORDER BY position").fetchall()


@pytest.mark.parametrize("change", [*CHANGES.values(), *REPLACEMENTS.values()])
def test_a_change_is_refused(stored, change):
    before = records(stored)
    with pytest.raises(sqlite3.IntegrityError, match="events are immutable"):
        stored.execute(change)
    assert records(stored) == before


@pytest.mark.parametrize(
    ("trigger", "change"),
    [*CHANGES.items(), *(("events_refuse_replace", change) for change in REPLACEMENTS.values())],
)
def test_it_is_the_trigger_that_refuses(stored, trigger, change):
    before = records(stored)
    stored.execute(f"DROP TRIGGER {trigger}")
    stored.execute(change)
    assert records(stored) != before
