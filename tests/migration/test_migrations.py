"""The history of the schema: up from nothing, up with data, and where it ends the tables are those of the code."""

import asyncio
import sqlite3
import stat
from contextlib import closing
from importlib.resources import files

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from store.contract import DatabaseInUseError, StoreError
from store.lockfile import LockFile
from store.migrate import SchemaMismatchError, check, current, migrate
from store.postgres import postgres_log
from store.postgres_engine import is_postgres, run_on_connection
from store.records import encode_record
from store.sqlite import sqlite_log
from store.sqlite_engine import path_of
from store.tables import REVISION, schema
from tests.contract.events import TENANT, FakeClock, append_to, new_events


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'log.db'}"


def scripts():
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    return ScriptDirectory.from_config(config)


def changed(tmp_path, statement):
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection, connection:
        connection.execute(statement)


def test_the_history_is_one_line_that_ends_at_the_revision_of_the_code():
    assert scripts().get_heads() == [REVISION]
    assert len(scripts().get_bases()) == 1


def test_nothing_becomes_the_schema_of_the_code(url):
    assert current(url) is None
    migrate(url)
    assert current(url) == REVISION
    assert check(url) == []


def test_migrating_twice_changes_nothing(url, tmp_path):
    migrate(url)
    before = (tmp_path / "log.db").read_bytes()
    migrate(url)
    assert (tmp_path / "log.db").read_bytes() == before


def test_the_database_is_the_owners_alone(url, tmp_path):
    migrate(url)
    assert stat.S_IMODE((tmp_path / "log.db").stat().st_mode) == 0o600


async def test_data_outlives_a_migration(url, tmp_path):
    migrate(url)
    log = sqlite_log(tmp_path / "log.db", clock=FakeClock())
    await log.open()
    await log.append(append_to("a", 3))
    digest = await log.write_payload(TENANT, b"kept")
    before = await log.read_all()
    await log.close()

    migrate(url)
    assert check(url) == []
    await log.open()
    assert await log.read_all() == before
    assert await log.read_payload(TENANT, digest) == b"kept"
    await log.append(append_to("a", at=3))
    await log.close()


def test_a_failed_migration_leaves_nothing_behind(url, tmp_path):
    changed(tmp_path, "CREATE TABLE data_keys (in_the_way TEXT)")
    with pytest.raises(Exception, match="data_keys already exists"):
        migrate(url)
    assert current(url) is None
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("data_keys",)]


def test_a_database_in_use_is_not_migrated(url, tmp_path):
    with LockFile(tmp_path / "log.db"), pytest.raises(DatabaseInUseError):
        migrate(url)


def test_a_database_of_a_newer_version_is_refused(url, tmp_path):
    migrate(url)
    changed(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatchError, match="9999"):
        migrate(url)
    assert current(url) == "9999"


@pytest.mark.parametrize("memory", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_no_log(memory):
    with pytest.raises(StoreError, match="names no file"):
        migrate(memory)


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        ("DROP TRIGGER events_refuse_update", "events_refuse_update"),
        ("DROP TRIGGER events_refuse_delete", "events_refuse_delete"),
        ("DROP TRIGGER events_refuse_replace", "events_refuse_replace"),
        ("ALTER TABLE streams ADD COLUMN color TEXT", "color"),
        ("ALTER TABLE payloads DROP COLUMN touched_at_us", "touched_at_us"),
        ("DROP INDEX events_by_tenant", "events_by_tenant"),
        ("DROP TABLE data_keys", "data_keys"),
        ("UPDATE alembic_version SET version_num = '9999'", "9999"),
    ],
)
def test_a_difference_is_found(url, tmp_path, statement, difference):
    migrate(url)
    changed(tmp_path, statement)
    assert any(difference in found for found in check(url))


def test_another_primary_key_is_found(url, tmp_path):
    migrate(url)
    changed(tmp_path, "DROP TABLE open_workflows")
    changed(
        tmp_path,
        "CREATE TABLE open_workflows (shard INTEGER NOT NULL, stream_key INTEGER NOT NULL, "
        "opened_position INTEGER NOT NULL, wake_at_us INTEGER, PRIMARY KEY (shard, stream_key))",
    )
    assert check(url) == ["the primary key of open_workflows is ['shard', 'stream_key'], not ['stream_key']"]


def test_the_position_is_the_rowid(url, tmp_path):
    """A table whose primary key were an index of its own would write 3.6 times as much."""
    migrate(url)
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        indexes = connection.execute("SELECT name FROM pragma_index_list('events')").fetchall()
    assert {name for (name,) in indexes} == {"sqlite_autoindex_events_1", "events_by_tenant"}


async def test_the_rows_that_every_append_moves_are_pruned_often(postgres):
    """With the default an append of one step takes twice the time in the database."""
    url = await postgres.create_database()
    connection = await asyncpg.connect(url)
    found = await connection.fetch("SELECT relname, reloptions[1] FROM pg_class WHERE reloptions[1] LIKE 'fillfactor%'")
    await connection.close()
    await postgres.drop_database(url)
    options = {name: table.dialect_options["postgresql"]["with"] for name, table in schema("postgresql").tables.items()}
    wanted = {name: f"fillfactor={given['fillfactor']}" for name, given in options.items() if given}
    assert dict(found) == wanted
    assert set(wanted) == {"shards", "tenants"}


async def test_of_many_that_migrate_at_once_one_does(postgres):
    url = await postgres.create_database(migrated=False)
    assert current(url) is None
    await asyncio.gather(*(asyncio.to_thread(migrate, url) for _ in range(4)))
    assert current(url) == REVISION
    assert check(url) == []
    await postgres.drop_database(url)


def first_revision_of(url):
    """Make the tables as the first release did."""

    def upgrade(connection):
        command.upgrade(configured(connection), "0001")

    if is_postgres(url):
        run_on_connection(url, upgrade)
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()


def configured(connection):
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.attributes["connection"] = connection
    return config


FIRST_ROWS = [
    "INSERT INTO shards (shard, head_position, last_ordinal, epoch) VALUES (0, 2, 0, 5)",
    "INSERT INTO tenants (shard, tenant_key, name, sequence) VALUES (0, 1, 'acme', 2)",
    "INSERT INTO streams (shard, stream_key, tenant_key, stream_id) VALUES (0, 1, 1, 'a')",
    "INSERT INTO data_keys (key_id, wrapped_key) VALUES ('k', '1')",
]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_data_of_the_first_revision_outlives_the_way_to_the_newest(kind, tmp_path, postgres):
    url = f"sqlite:///{tmp_path / 'log.db'}" if kind == "sqlite" else await postgres.create_database(migrated=False)
    await asyncio.to_thread(first_revision_of, url)
    assert current(url) == "0001"
    records = [
        encode_record(new.payload, new.envelope, position=n, tenant_sequence=n, stream_version=n, recorded_at_us=7)
        for n, new in enumerate(new_events("a", 2), 1)
    ]
    fill(url, records)

    migrate(url)
    assert current(url) == REVISION
    assert check(url) == []
    log = (postgres_log if is_postgres(url) else lambda url, clock: sqlite_log(path_of(url), clock=clock))(
        url, clock=FakeClock()
    )
    await log.open()
    assert [event.record for event in await log.read_stream(TENANT, "a")] == records
    assert [key.tenant for key in await log.read_data_keys()] == [""]
    await log.append(append_to("a", at=2))
    await log.close()


def fill(url, records):
    def write(connection):
        for statement in FIRST_ROWS:
            connection.exec_driver_sql(statement.replace("'1')", "'1'::bytea)" if is_postgres(url) else "x'31')"))
        events = schema("sqlite").tables["events"]
        for number, record in enumerate(records, 1):
            connection.execute(
                events.insert().values(
                    shard=0,
                    position=number,
                    stream_key=1,
                    stream_version=number,
                    type=34,
                    recorded_at_us=7,
                    tenant_key=1,
                    record=record,
                )
            )

    if is_postgres(url):
        run_on_connection(url, write)
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        write(connection)
    engine.dispose()
