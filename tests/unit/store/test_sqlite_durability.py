"""How the file is written: synced at every commit, checkpointed by the writer alone and not inside a commit."""

import shutil

import pytest

from store import sqlite
from store.sqlite import sqlite_log
from store.sqlite_engine import read_engine, write_engine
from store.sqlite_reader import SqliteReader
from tests.contract.events import append_to


def pragma(engine, name):
    with engine.connect() as connection:
        value = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
    engine.dispose()
    return value


@pytest.mark.parametrize(
    ("name", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("wal_autocheckpoint", 0), ("recursive_triggers", 1)],
)
def test_the_writer_syncs_every_commit_and_checkpoints_when_it_is_told_to(database, name, value):
    assert pragma(write_engine(database), name) == value


@pytest.mark.parametrize(("name", "value"), [("query_only", 1), ("wal_autocheckpoint", 0)])
def test_a_reader_neither_writes_nor_checkpoints(database, name, value):
    assert pragma(read_engine(database), name) == value


async def events_without_the_log_file(database, folder):
    """How many events the file has by itself, without what is only in the write-ahead log."""
    async with SqliteReader(shutil.copy(database, folder / "alone.db")) as reader:
        return len(await reader.read_all())


async def test_a_commit_does_not_checkpoint(database, clock, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_QUIET_S", 600)
    log = sqlite_log(database, clock=clock)
    await log.open()
    await log.append(append_to("a"))
    assert await events_without_the_log_file(database, tmp_path) == 0
    await log.close()
    assert await events_without_the_log_file(database, tmp_path) == 1


async def test_a_long_write_ahead_log_is_checkpointed_between_commits(database, clock, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_QUIET_S", 600)
    monkeypatch.setattr(sqlite, "_CHECKPOINT_BYTES", 1)
    log = sqlite_log(database, clock=clock)
    await log.open()
    await log.append(append_to("a"))
    await log.append(append_to("b"))  # The thread has checkpointed the first when it commits the second.
    assert await events_without_the_log_file(database, tmp_path) >= 1
    await log.close()


async def test_a_checkpoint_that_a_reader_holds_up_does_not_hold_up_commits(database, clock):
    log = sqlite_log(database, clock=clock)
    await log.open()
    await log.append(append_to("a"))
    engine = read_engine(database)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("SELECT count(*) FROM events").scalar()
        for version in range(1, 20):
            await log.append(append_to("a", at=version))
    engine.dispose()
    assert log.head == 20
    await log.close()
