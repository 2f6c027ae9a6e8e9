"""The history of the schema: up from nothing, up with data, and where it ends the tables are those of the code."""

import sqlite3
import stat
from contextlib import closing
from importlib.resources import files

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from store.contract import DatabaseInUseError, StoreError
from store.lockfile import LockFile
from store.migrate import SchemaMismatchError, check, current, migrate
from store.sqlite import sqlite_log
from store.tables import REVISION
from tests.contract.events import TENANT, FakeClock, append_to


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
