"""An owner that was replaced touches nothing that is its successor's: no timer, no entry, no snapshot, no key."""

import sqlite3
from contextlib import closing

import pytest

from store.contract import Append, DataKey, OpenWorkflow, OwnershipLostError, Snapshot
from tests.contract.events import TENANT, append_to, chunks, opening
from tests.contract.events import closing as closing_append

WRITES = {
    "delete a timer": lambda log: log.append(closing_append("a", at=1)),
    "move a timer": lambda log: log.append(Append((), opened=[OpenWorkflow(TENANT, "a", wake_at_us=99)])),
    "delete an entry alone": lambda log: log.append(Append((), closed=[(TENANT, "a")])),
    "add an event": lambda log: log.append(append_to("b")),
    "add a chunk": lambda log: log.append_chunks(chunks("a", [1])),
    "write a payload": lambda log: log.write_payload(TENANT, b"payload"),
    "write a snapshot": lambda log: log.write_snapshot(Snapshot(TENANT, "a", 1, b"fold", b"state")),
    "destroy a key": lambda log: log.write_data_key(DataKey("key", None, 1, TENANT)),
}
TABLES = ("events", "open_workflows", "output_chunks", "payloads", "snapshots", "data_keys")


def kept(database):
    """Everything that an owner writes."""
    with closing(sqlite3.connect(database)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}


@pytest.fixture
async def owned(log):
    """A log with a parked workflow and a data key."""
    await log.append(opening("a", wake_at_us=17))
    await log.write_data_key(DataKey("key", b"wrapped", tenant=TENANT))
    return log


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_stale_owner_cannot(owned, database, write):
    with closing(sqlite3.connect(database)) as successor, successor:
        successor.execute("UPDATE shards SET epoch = epoch + 1")
    before = kept(database)
    with pytest.raises(OwnershipLostError):
        await write(owned)
    assert kept(database) == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_the_owner_can(owned, database, write):
    before = kept(database)
    await write(owned)
    assert kept(database) != before
