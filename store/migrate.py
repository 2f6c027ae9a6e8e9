"""Brings a database to this version's schema, and tells whether it is there.

Migrations run alone: under the lock of a SQLite file, so that none changes the tables of a running server, and under
a lock of the Postgres database, so that of several processes that start at once one migrates and the others wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, Engine, inspect, text

from store.contract import StoreError
from store.lockfile import LockFile
from store.postgres_engine import is_postgres, run_on_connection
from store.sqlite_engine import path_of, read_engine, write_engine
from store.tables import REVISION, schema

if TYPE_CHECKING:
    from alembic.config import Config

T = TypeVar("T")

_TRIGGERS = {
    "sqlite": ("events_refuse_update", "events_refuse_delete", "events_refuse_replace"),
    "postgresql": ("events_refuse_change",),
}
_LIST_TRIGGERS = {
    "sqlite": text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'"),
    # 'A': it fires always, whatever the session calls itself.
    "postgresql": text("SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass('events') AND tgenabled = 'A'"),
}
_GUARD = text(
    "SELECT p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
    "WHERE t.tgrelid = to_regclass('events') AND t.tgname = 'events_refuse_change'"
)
_GUARD_BODY = " BEGIN RAISE EXCEPTION 'events are immutable: % refused', TG_OP; END "
_REVISION = text("SELECT version_num FROM alembic_version")
_MIGRATING = text("SELECT pg_advisory_xact_lock(7233001)")


class SchemaMismatchError(StoreError):
    """The database is at another revision than this version of Podium works with."""

    reason = "SCHEMA_MISMATCH"


def migrate(url: str) -> None:
    """Bring the database up to this version's schema; create it when there is none. Idempotent.

    Raises:
        DatabaseInUseError: a server is running on it.
        SchemaMismatchError: a newer version has written it.
    """
    if is_postgres(url):
        # Looked at first without the lock: a role that may only append can start on what another has migrated.
        if current(url) != REVISION:
            run_on_connection(url, _migrate)
        return
    with LockFile(path_of(url)):
        _on_file(_write_engine(url), _migrate)


def current(url: str) -> str | None:
    """The revision the database is at; None: it has no tables yet, or there is none."""
    if not is_postgres(url) and not path_of(url).exists():
        return None
    return on_database(url, revision_of)


def check(url: str) -> list[str]:
    """How the database differs from this version's schema, one sentence a difference; empty: not at all."""
    return on_database(url, _differences)


def revision_of(connection: Connection) -> str | None:
    """The revision of an open database, without importing alembic."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(_REVISION).scalar()


def require_current(connection: Connection) -> None:
    """Raise SchemaMismatchError unless the database is at this version's revision."""
    require_revision(revision_of(connection))


def require_revision(revision: str | None) -> None:
    """Raise SchemaMismatchError unless this is this version's revision. None: there are no tables."""
    if revision != REVISION:
        raise SchemaMismatchError(
            f"the database is at revision {revision}, this version is at {REVISION}: "
            "run `podium database migrate`, or a version at least as new"
        )


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(_MIGRATING)
    revision = revision_of(connection)
    if revision != REVISION:
        _upgrade(connection, revision)


def _write_engine(url: str) -> Engine:
    path = path_of(url)
    # What agents did and what came back is nobody's business but the owner's.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return write_engine(path)


def on_database(url: str, read: Callable[[Connection], T]) -> T:
    """Read on a connection of its own. Raises StoreError."""
    return run_on_connection(url, read) if is_postgres(url) else _on_file(read_engine(path_of(url)), read)


def _on_file(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    finally:
        engine.dispose()


def _differences(connection: Connection) -> list[str]:
    return [
        *_revision_differs(connection),
        *_tables_differ(connection),
        *_triggers_missing(connection),
        *_guard_differs(connection),
    ]


def _upgrade(connection: Connection, revision: str | None) -> None:
    # Not at the top: alembic takes half a second to import, and most starts find nothing to do.
    from alembic import command  # noqa: PLC0415 - most starts do without it
    from alembic.util.exc import CommandError  # noqa: PLC0415 - as the line above

    try:
        command.upgrade(_config(connection), REVISION)
    except CommandError as error:
        raise SchemaMismatchError(f"cannot go from revision {revision} to {REVISION}: {error}") from error


def _config(connection: Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415 - imported where a migration runs, and only there

    config = Config()
    # The folder of the installed package, in a wheel as in a checkout.
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _revision_differs(connection: Connection) -> list[str]:
    revision = revision_of(connection)
    return [] if revision == REVISION else [f"the database is at revision {revision}, this version is at {REVISION}"]


def _tables_differ(connection: Connection) -> list[str]:
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - imported for a check, and only then
    from alembic.migration import MigrationContext  # noqa: PLC0415 - imported for a check, and only then

    expected = schema(connection.dialect.name)
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    differences = [f"the tables differ: {difference}" for difference in compare_metadata(context, expected)]
    inspector = inspect(connection)
    for table in expected.sorted_tables:
        # Alembic does not compare primary keys.
        wanted = [column.name for column in table.primary_key.columns]
        found = (
            inspector.get_pk_constraint(table.name)["constrained_columns"] if inspector.has_table(table.name) else []
        )
        if found != wanted:
            differences.append(f"the primary key of {table.name} is {found}, not {wanted}")
    return differences


def _triggers_missing(connection: Connection) -> list[str]:
    found = set(connection.execute(_LIST_TRIGGERS[connection.dialect.name]).scalars())
    wanted = _TRIGGERS[connection.dialect.name]
    return [f"the trigger {name} on events is missing" for name in wanted if name not in found]


def _guard_differs(connection: Connection) -> list[str]:
    if connection.dialect.name != "postgresql":
        return []
    body = connection.execute(_GUARD).scalar()
    return [] if body == _GUARD_BODY else ["the function events_refuse_change does not refuse what it should"]
