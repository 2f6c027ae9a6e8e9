"""Who may write a SQLite log: one process, found by its lock, fenced by its epoch."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from store.contract import DatabaseInUseError, OwnershipLostError, StoreError
from store.lockfile import LockFile
from store.migrate import SchemaMismatchError, migrate
from store.sqlite import SqliteBackend, sqlite_log
from tests.contract.events import append_to

OWN_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from store.sqlite import sqlite_log
from tests.contract.events import FakeClock, append_to

async def own():
    log = sqlite_log(Path(sys.argv[1]), clock=FakeClock())
    await log.open()
    await log.append(append_to("a", 2))
    print("owned", flush=True)
    await asyncio.Event().wait()

asyncio.run(own())
"""


@pytest.fixture
def other_process(database):
    """Another process that owns the database and has recorded two events."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", OWN_AND_WAIT, str(database)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


async def test_a_database_of_another_process_is_refused_until_that_is_killed(other_process, database, clock):
    log = sqlite_log(database, clock=clock)
    with pytest.raises(DatabaseInUseError) as refused:
        await log.open()
    assert str(database) in str(refused.value)
    assert f"process {other_process.pid} holds" in str(refused.value)
    with pytest.raises(DatabaseInUseError):
        migrate(f"sqlite:///{database}")

    other_process.kill()
    other_process.wait()
    await log.open()
    assert log.head == 2
    await log.close()


def test_a_link_to_the_database_leads_to_the_same_lock(database, tmp_path):
    link = tmp_path / "link.db"
    link.symlink_to(database)
    with LockFile(database), pytest.raises(DatabaseInUseError):
        LockFile(link).acquire()
    with LockFile(link):
        pass


async def test_every_opening_raises_the_epoch(database):
    epochs = []
    for _ in range(3):
        backend = SqliteBackend(database)
        epochs.append((await backend.open(epochs.append)).epoch)
        await backend.close()
    assert epochs == [1, 2, 3]


@pytest.mark.parametrize("theft", ["UPDATE shards SET epoch = epoch + 1", "UPDATE shards SET head_position = 7"])
async def test_a_stale_owner_records_nothing(log, database, theft):
    await log.append(append_to("a"))
    with closing(sqlite3.connect(database)) as thief, thief:
        thief.execute(theft)
    with pytest.raises(OwnershipLostError):
        await log.append(append_to("b"))
    with pytest.raises(OwnershipLostError):
        await log.append(append_to("c"))
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)


async def test_a_missing_database_is_told(tmp_path, clock):
    with pytest.raises(StoreError, match="there is no database"):
        await sqlite_log(tmp_path / "none.db", clock=clock).open()
    assert not (tmp_path / "none.db").exists()


async def test_a_database_of_another_revision_is_refused_and_let_go(database, clock):
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    log = sqlite_log(database, clock=clock)
    for _ in range(2):
        with pytest.raises(SchemaMismatchError, match="9999"):
            await log.open()


async def test_an_open_read_transaction_elsewhere_does_not_hide_a_commit(log, database):
    await log.append(append_to("a"))
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM events").fetchone() == (1,)
        await log.append(append_to("b"))
        assert other.execute("SELECT count(*) FROM events").fetchone() == (1,)
    assert len(await log.read_all()) == 2
