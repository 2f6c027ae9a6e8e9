"""Reading a log without owning it: beside a server, of a copy, from a read-only disk; and finding what is wrong."""

import asyncio
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest

from store import sqlite_engine
from store.contract import CorruptLogError, StoreClosedError, StoreError
from store.migrate import SchemaMismatchError
from store.sqlite import sqlite_log
from store.sqlite_engine import read_engine
from store.sqlite_reader import SqliteReader
from tests.contract.events import TENANT, append_to


async def positions(path):
    async with SqliteReader(path) as reader:
        return [event.position for event in await reader.read_all()]


async def test_a_reader_sees_what_a_running_store_has_committed(log, database):
    async with SqliteReader(database) as reader:
        assert await reader.read_all() == []
        await log.append(append_to("a", 2))
        assert await reader.read_all() == await log.read_all()
        assert len(await reader.read_stream(TENANT, "a")) == 2


async def test_a_reader_does_not_see_what_is_not_committed(database, clock):
    written, go_on = threading.Event(), threading.Event()

    def hold(point):
        if point == "written":
            written.set()
            go_on.wait()

    log = sqlite_log(database, clock=clock, on_point=hold)
    await log.open()
    appended = asyncio.ensure_future(log.append(append_to("a")))
    await asyncio.to_thread(written.wait)
    assert await positions(database) == []
    assert log.head == 0
    go_on.set()
    await appended
    assert await positions(database) == [1]
    await log.close()


async def test_a_closed_log_and_copies_of_it_can_be_read(log, database, tmp_path):
    await log.append(append_to("a", 2))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("log.db", "log.db-wal"):
        shutil.copy(tmp_path / name, crashed / name)
    await log.close()
    assert await positions(database) == [1, 2]
    assert await positions(shutil.copy(database, tmp_path / "copy.db")) == [1, 2]
    assert await positions(crashed / "log.db") == [1, 2]


async def test_a_copy_on_a_read_only_disk_can_be_read(log, database, tmp_path, monkeypatch):
    await log.append(append_to("a", 2))
    await log.close()
    copy = shutil.copy(database, tmp_path / "copy.db")
    monkeypatch.setattr(sqlite_engine.os, "access", lambda *_: False)
    assert await positions(copy) == [1, 2]
    assert not (tmp_path / "copy.db-wal").exists(), "nothing may be made beside it"


def test_a_reader_cannot_write(database):
    engine = read_engine(database)
    with engine.connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("UPDATE shards SET epoch = 7")
    engine.dispose()


async def test_what_is_no_log_is_told(tmp_path):
    with pytest.raises(StoreError, match="no database"):
        await SqliteReader(tmp_path / "none.db").open()
    (tmp_path / "empty.db").touch()
    with pytest.raises(SchemaMismatchError):
        await SqliteReader(tmp_path / "empty.db").open()
    (tmp_path / "text.db").write_text("not a database " * 100)
    with pytest.raises(StoreError, match="not a database"):
        await SqliteReader(tmp_path / "text.db").open()


async def test_a_closed_reader_says_so(database):
    async with SqliteReader(database) as reader:
        pass
    with pytest.raises(StoreClosedError):
        await reader.read_all()


async def damaged(log, database, damage):
    """A log of four events in two streams, read after the damage."""
    await log.append(append_to("a", 2))
    await log.append(append_to("b"))
    await log.append(append_to("a", at=2))
    await log.close()
    with closing(sqlite3.connect(database)) as connection, connection:
        for trigger in ("events_refuse_update", "events_refuse_delete"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(damage)
    return SqliteReader(database)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM events WHERE position = 2",
        "DELETE FROM events WHERE position = 1",
        "UPDATE events SET recorded_at_us = 1 WHERE position = 2",
        "UPDATE events SET type = 17 WHERE position = 2",
        "UPDATE events SET record = x'00' WHERE position = 2",
        "UPDATE events SET record = (SELECT record FROM events WHERE position = 3) WHERE position = 2",
        "UPDATE streams SET stream_id = 'c' WHERE stream_id = 'a'",
        "UPDATE tenants SET name = 'someone else'",
        "DELETE FROM streams WHERE stream_id = 'a'",
    ],
)
async def test_damage_is_found_by_whoever_reads_the_log(log, database, damage):
    async with await damaged(log, database, damage) as reader:
        with pytest.raises(CorruptLogError):
            await reader.read_all()


async def test_a_log_without_damage_is_read(log, database):
    async with await damaged(log, database, "SELECT 1") as reader:
        assert len(await reader.read_all()) == 4


async def test_a_gap_is_found_by_whoever_reads_the_stream_or_the_tenant(log, database):
    async with await damaged(log, database, "DELETE FROM events WHERE position = 2") as reader:
        with pytest.raises(CorruptLogError, match="version 2 is missing"):
            await reader.read_stream(TENANT, "a")
        with pytest.raises(CorruptLogError, match="event 2 of tenant acme is missing"):
            await reader.read_all(tenant=TENANT)
        assert len(await reader.read_stream(TENANT, "b")) == 1
        assert [event.position for event in await reader.stream_as_stored(TENANT, "a")] == [1, 4]
