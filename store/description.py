"""What a database of the log holds, in numbers for an operator, and what its service's role may do."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, inspect, select, text

from store.migrate import on_database, revision_of
from store.postgres_engine import address_of, is_postgres
from store.tables import REVISION, schema


@dataclass(frozen=True, slots=True)
class ShardDescription:
    """A shard's row."""

    shard: int
    head: int
    epoch: int
    owner: str | None
    lease_expires_at_us: int | None
    """When the lease ends by the database's clock, microseconds since the Unix epoch; None or 0: nobody has one."""


@dataclass(frozen=True, slots=True)
class DatabaseDescription:
    """A database of the log."""

    address: str
    """Without a user and a password."""
    server: str
    """The database's name and version."""
    revision: str | None
    """The revision of its tables; None: it has none yet."""
    wanted_revision: str
    """The revision this version of Podium works with."""
    size_bytes: int
    shards: tuple[ShardDescription, ...] = ()
    tenants: int = 0
    streams: int = 0
    open_workflows: int = 0
    may_change_events: bool | None = None
    """Whether the role that asks could change or remove events, or take their triggers away; None: no roles."""


_SIZE = {
    "sqlite": text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"),
    "postgresql": text("SELECT pg_database_size(current_database())"),
}
_VERSION = {
    "sqlite": text("SELECT 'SQLite ' || sqlite_version()"),
    "postgresql": text("SELECT 'Postgres ' || current_setting('server_version')"),
}
_MAY_CHANGE = text(
    "SELECT pg_has_role(current_user, relowner, 'MEMBER') OR has_table_privilege('events', 'UPDATE, DELETE, TRUNCATE, "
    "TRIGGER') FROM pg_class WHERE oid = 'events'::regclass"
)
"""Of a superuser both are true."""
_TABLES = schema("sqlite").tables


def describe(url: str) -> DatabaseDescription:
    """Describe a database. Raises StoreError when it cannot be read."""
    address = address_of(url) if is_postgres(url) else url

    def read(connection: Connection) -> DatabaseDescription:
        dialect = connection.dialect.name
        described = DatabaseDescription(
            address=address,
            server=connection.execute(_VERSION[dialect]).scalar_one(),
            revision=revision_of(connection),
            wanted_revision=REVISION,
            size_bytes=connection.execute(_SIZE[dialect]).scalar_one(),
        )
        return described if not inspect(connection).has_table("shards") else _with_log(connection, described)

    return on_database(url, read)


def _with_log(connection: Connection, described: DatabaseDescription) -> DatabaseDescription:
    shards = _TABLES["shards"]
    columns = (shards.c.shard, shards.c.head_position, shards.c.epoch, shards.c.owner, shards.c.lease_expires_at_us)

    def count(table: str) -> int:
        return connection.execute(select(func.count()).select_from(_TABLES[table])).scalar_one()

    has_roles = connection.dialect.name == "postgresql"
    return DatabaseDescription(
        address=described.address,
        server=described.server,
        revision=described.revision,
        wanted_revision=described.wanted_revision,
        size_bytes=described.size_bytes,
        shards=tuple(ShardDescription(*row) for row in connection.execute(select(*columns).order_by(shards.c.shard))),
        tenants=count("tenants"),
        streams=count("streams"),
        open_workflows=count("open_workflows"),
        may_change_events=connection.execute(_MAY_CHANGE).scalar_one() if has_roles else None,
    )


_GRANTS = {
    # What happened may be added to and read, and nothing else.
    "events": "SELECT, INSERT",
    "streams": "SELECT, INSERT",
    "output_chunks": "SELECT, INSERT",
    "tiles": "SELECT, INSERT",
    "checkpoints": "SELECT, INSERT",
    "shards": "SELECT, INSERT, UPDATE",
    "tenants": "SELECT, INSERT, UPDATE",
    "payloads": "SELECT, INSERT, UPDATE",
    "data_keys": "SELECT, INSERT, UPDATE",
    "snapshots": "SELECT, INSERT, UPDATE",
    "open_workflows": "SELECT, INSERT, UPDATE, DELETE",
    "alembic_version": "SELECT",
}


_HAND_OVER = """DO $$ DECLARE made text; BEGIN
FOR made IN SELECT tablename FROM pg_tables WHERE schemaname = 'podium_projections' LOOP
  EXECUTE format('ALTER TABLE podium_projections.%I OWNER TO ', made) || $role$ROLE$role$;
END LOOP; END $$;"""


def grants_for(role: str) -> list[str]:
    """The statements that let a Postgres role run the service and change no event; for a role that owns nothing."""
    quoted = '"' + role.replace('"', '""') + '"'
    return [
        *(f"GRANT {rights} ON {table} TO {quoted};" for table, rights in _GRANTS.items()),
        f"CREATE SCHEMA IF NOT EXISTS podium_projections AUTHORIZATION {quoted};",
        # Where another role has served before, what it made there becomes this one's.
        f"ALTER SCHEMA podium_projections OWNER TO {quoted};",
        _HAND_OVER.replace("ROLE", quoted),
    ]
