"""Both databases: one writer, readers that cannot write and see one state, and errors that tell whose fault it is."""

import asyncio
import stat

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from service.projections.database import DatabaseError, DatabaseUnavailableError
from service.projections.postgres_database import PostgresProjections
from service.projections.sqlite_database import SqliteProjections, beside
from tests.ports import free_port
from tests.unit.projections.memory_log import MemoryLog, next_epoch
from tests.unit.projections.tally import tallied, tally

WAIT_S = 30


def scalar(statement):
    return lambda connection: connection.exec_driver_sql(statement).scalar_one()


def execute(statement):
    return lambda connection: connection.exec_driver_sql(statement).close()


async def test_a_reader_cannot_write(database):
    with pytest.raises(DatabaseUnavailableError, match=r"read-?only"):
        await database.read(execute("CREATE TABLE t (x INTEGER)"))


async def test_a_read_sees_what_was_committed_when_it_began(database):
    await database.write(execute("CREATE TABLE t (x INTEGER)"))
    loop, began = asyncio.get_running_loop(), asyncio.Event()

    def read(connection):
        before = connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one()
        loop.call_soon_threadsafe(began.set)
        wait_for(writing, connection)
        return before, connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one()

    async def write():
        await began.wait()
        await database.write(execute("INSERT INTO t VALUES (1)"))

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(write())
        reading = tasks.create_task(database.read(read))
    assert reading.result() == (0, 0)
    assert await database.read(scalar("SELECT count(*) FROM t")) == 1


def wait_for(task, connection):
    """Let the loop go on until a task has ended: from a thread, or from within a greenlet of the loop's."""
    if connection.dialect.is_async:
        from sqlalchemy.util import await_only  # noqa: PLC0415 - exists for asynchronous drivers alone

        await_only(asyncio.wait_for(asyncio.shield(task), WAIT_S))
        return
    ended = asyncio.run_coroutine_threadsafe(asyncio.wait_for(asyncio.shield(task), WAIT_S), task.get_loop())
    ended.result(WAIT_S)


async def test_an_error_undoes_the_transaction(database):
    await database.write(execute("CREATE TABLE t (x INTEGER)"))

    def fail(connection):
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        await database.write(fail)
    assert await database.read(scalar("SELECT count(*) FROM t")) == 0


async def test_writes_run_one_at_a_time_in_the_order_of_their_calls(database):
    running, order = [], []

    def work(number):
        def write(connection):
            assert not running
            running.append(number)
            connection.exec_driver_sql("SELECT 1").close()
            order.append(running.pop())

        return write

    await asyncio.gather(*(database.write(work(number)) for number in range(20)))
    assert order == list(range(20))


async def test_a_statement_at_fault_is_no_fault_of_the_database(database):
    with pytest.raises(DBAPIError):
        await database.write(execute("INSERT INTO there_is_no_such_table VALUES (1)"))


async def test_an_error_does_not_tell_what_was_bound(database, place):
    mark = "$1" if place.startswith("postgresql") else "?"
    statement = f"INSERT INTO there_is_no_such_table VALUES ({mark})"
    with pytest.raises(DBAPIError) as raised:
        await database.write(lambda connection: connection.exec_driver_sql(statement, ("secret",)))
    assert "secret" not in str(raised.value)


async def test_a_role_without_the_right_to_make_the_schema_is_told_the_remedy(postgres_url):
    admin = await asyncpg.connect(postgres_url)
    await admin.execute("CREATE ROLE narrow LOGIN")
    database = PostgresProjections(postgres_url.replace("postgres@", "narrow@"))
    with pytest.raises(DatabaseError, match=r"permission denied.*`podium database grants ROLE`"):
        await database.open(next_epoch())
    await admin.execute("CREATE SCHEMA podium_projections AUTHORIZATION narrow")
    await database.open(next_epoch())
    await database.close()
    await admin.execute("DROP SCHEMA podium_projections CASCADE")
    await admin.execute("DROP ROLE narrow")
    await admin.close()


async def test_a_postgres_that_is_not_there_is_an_error_without_its_password():
    database = PostgresProjections(f"postgresql://ana:hunter2@127.0.0.1:{free_port()}/podium")
    with pytest.raises(DatabaseUnavailableError) as raised:
        await database.open(next_epoch())
    assert "hunter2" not in str(raised.value)
    await database.close()


async def test_the_file_lies_beside_the_log(tmp_path):
    assert beside(tmp_path / "podium.db") == tmp_path / "podium.db.projections"


async def test_the_files_writer_is_in_wal_mode_with_synchronous_normal(sqlite):
    normal = 1
    assert await sqlite.write(scalar("PRAGMA journal_mode")) == "wal"
    assert await sqlite.write(scalar("PRAGMA synchronous")) == normal


async def test_the_files_readers_never_checkpoint(sqlite):
    assert await sqlite.read(scalar("PRAGMA wal_autocheckpoint")) == 0


async def test_closing_leaves_one_file(path):
    database = SqliteProjections(path)
    await database.open(next_epoch())
    await database.write(execute("CREATE TABLE t (x)"))
    await database.read(scalar("SELECT count(*) FROM t"))
    await database.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_damaged_file_is_thrown_away_and_rebuilt(path, opened, caplog):
    path.write_bytes(b"this was a database" * 1000)
    database = SqliteProjections(path)
    await database.open(next_epoch())
    assert "are damaged and will be rebuilt" in caplog.text
    assert await tallied(await opened(tally(), MemoryLog(), on=database)) == []
    await database.close()


async def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    database = SqliteProjections(tmp_path / "no_such_folder" / "podium.db.projections")
    with pytest.raises(DatabaseUnavailableError, match="unable to open"):
        await database.open(next_epoch())
    await database.close()


async def test_a_full_disk_is_no_fault_of_the_statement(sqlite):
    await sqlite.write(execute("CREATE TABLE t (x)"))
    pages = await sqlite.write(scalar("PRAGMA page_count"))

    def fill(connection):
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        connection.exec_driver_sql("INSERT INTO t VALUES (zeroblob(100000))")

    with pytest.raises(DatabaseUnavailableError, match="full"):
        await sqlite.write(fill)


@pytest.mark.parametrize("before", [None, b"", b"damaged" * 1000])
async def test_the_file_is_its_owners_alone(tmp_path, before):
    """What it holds is the audit trail of all tenants. One of an earlier version, or a damaged one, is made so."""
    path = tmp_path / "log.db.projections"
    if before is not None:
        path.write_bytes(before)
        path.chmod(0o644)
    projections = SqliteProjections(path)
    await projections.open(next_epoch())
    await projections.write(execute("CREATE TABLE t (x INTEGER)"))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    await projections.close()
    assert path.name in modes
    assert set(modes.values()) == {0o600}, modes
