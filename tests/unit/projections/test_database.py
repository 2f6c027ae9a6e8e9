"""The database file: one writer, readers that cannot write, and a file that may be thrown away."""

import asyncio
import threading

import pytest
from sqlalchemy.exc import DatabaseError, OperationalError

from podium.v1 import events_pb2
from service.projections.database import ProjectionsDatabase, beside
from tests.unit.projections.memory_log import MemoryLog
from tests.unit.projections.tally import Tally

WAIT_S = 30


def scalar(statement):
    return lambda connection: connection.exec_driver_sql(statement).scalar_one()


def execute(statement):
    return lambda connection: connection.exec_driver_sql(statement).close()


async def test_it_lies_beside_the_log(tmp_path):
    assert beside(tmp_path / "podium.db") == tmp_path / "podium.db.projections"


async def test_the_writer_is_in_wal_mode_with_synchronous_normal(database):
    normal = 1
    assert await database.write(scalar("PRAGMA journal_mode")) == "wal"
    assert await database.write(scalar("PRAGMA synchronous")) == normal


async def test_a_reader_cannot_write(database):
    with pytest.raises(OperationalError, match="readonly"):
        await database.read(execute("CREATE TABLE t (x)"))


async def test_readers_never_checkpoint(database):
    assert await database.read(scalar("PRAGMA wal_autocheckpoint")) == 0


async def test_a_read_sees_what_was_committed_when_it_began(database):
    await database.write(execute("CREATE TABLE t (x)"))
    began, written = threading.Event(), threading.Event()

    def read(connection):
        before = connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one()
        began.set()
        assert written.wait(WAIT_S)
        return before, connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one()

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(database.read(read))
        assert await asyncio.to_thread(began.wait, WAIT_S)
        await database.write(execute("INSERT INTO t VALUES (1)"))
        written.set()
    assert reading.result() == (0, 0)
    assert await database.read(scalar("SELECT count(*) FROM t")) == 1


async def test_an_error_undoes_the_transaction(database):
    await database.write(execute("CREATE TABLE t (x)"))

    def fail(connection):
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        await database.write(fail)
    assert await database.read(scalar("SELECT count(*) FROM t")) == 0


async def test_an_error_does_not_tell_what_was_bound(database):
    with pytest.raises(OperationalError) as raised:
        await database.write(lambda connection: connection.exec_driver_sql("INSERT INTO t VALUES (?)", ("secret",)))
    assert "secret" not in str(raised.value)


async def test_closing_leaves_one_file(path):
    database = ProjectionsDatabase(path)
    await database.open()
    await database.write(execute("CREATE TABLE t (x)"))
    await database.read(scalar("SELECT count(*) FROM t"))
    await database.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_a_damaged_file_is_thrown_away_and_rebuilt(path, caplog):
    path.write_bytes(b"this was a database" * 1000)
    database = ProjectionsDatabase(path)
    await database.open()
    log, tally = MemoryLog(), Tally()
    log.record("acme", "workflow-1", events_pb2.WorkflowCanceled())
    assert "are damaged and will be rebuilt" in caplog.text
    await database.write(
        lambda connection: (tally.metadata.create_all(connection), tally.apply(connection, log.events))
    )
    assert await tally.positions(database) == [1]
    await database.close()


async def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    database = ProjectionsDatabase(tmp_path / "no_such_folder" / "podium.db.projections")
    with pytest.raises(DatabaseError, match="unable to open"):
        await database.open()
    await database.close()
