"""Brings a database to this version's schema, and tells whether it is there.

Migrations run under the lock of the file, so that none changes the tables of a running server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.resources import files
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, create_engine, inspect, make_url, text

from store.contract import StoreError
from store.lockfile import LockFile
from store.sqlite_engine import path_of, read_engine, write_engine
from store.tables import REVISION, schema

if TYPE_CHECKING:
    from alembic.config import Config

_TRIGGERS = {
    "sqlite": ("events_refuse_update", "events_refuse_delete", "events_refuse_replace"),
    "postgresql": ("events_refuse_change",),
}
_LIST_TRIGGERS = {
    "sqlite": text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'"),
    "postgresql": text("SELECT tgname FROM pg_trigger WHERE tgrelid = 'events'::regclass AND tgenabled <> 'D'"),
}
_REVISION = text("SELECT version_num FROM alembic_version")


class SchemaMismatchError(StoreError):
    """The database is at another revision than this version of Podium works with."""

    reason = "SCHEMA_MISMATCH"


def migrate(url: str) -> None:
    """Bring the database up to this version's schema; create it when there is none. Idempotent.

    Raises:
        DatabaseInUseError: a server is running on it.
        SchemaMismatchError: a newer version has written it.
    """
    with _alone(url), _connection(_write_engine(url)) as connection:
        revision = revision_of(connection)
        if revision != REVISION:
            _upgrade(connection, revision)


def current(url: str) -> str | None:
    """The revision the database is at; None: it has no tables yet, or there is none."""
    if _is_sqlite(url) and not path_of(url).exists():
        return None
    with _connection(_read_engine(url)) as connection:
        return revision_of(connection)


def check(url: str) -> list[str]:
    """How the database differs from this version's schema, one sentence a difference; empty: not at all."""
    with _connection(_read_engine(url)) as connection:
        return [*_revision_differs(connection), *_tables_differ(connection), *_triggers_missing(connection)]


def revision_of(connection: Connection) -> str | None:
    """The revision of an open database, without importing alembic."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(_REVISION).scalar()


def require_current(connection: Connection) -> None:
    """Raise SchemaMismatchError unless the database is at this version's revision."""
    for difference in _revision_differs(connection):
        raise SchemaMismatchError(f"{difference}: run `podium migrate`, or a version at least as new")


def _is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


def _alone(url: str) -> AbstractContextManager[object]:
    return LockFile(path_of(url)) if _is_sqlite(url) else nullcontext()


def _write_engine(url: str) -> Engine:
    if not _is_sqlite(url):
        return create_engine(url)
    path = path_of(url)
    # What agents did and what came back is nobody's business but the owner's.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return write_engine(path)


def _read_engine(url: str) -> Engine:
    return read_engine(path_of(url)) if _is_sqlite(url) else create_engine(url)


@contextmanager
def _connection(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


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
