"""The tables of the log, for SQLite and for Postgres.

The shard is part of every key, because a partitioned database demands it; except on SQLite, where a file holds one
shard. There the sequential integer alone is the primary key: it becomes the rowid, and an event is stored where the
log ends instead of where a composite key falls (3.6 times fewer bytes are written). The migrations create the same
tables; `store.migrate.check` compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0003"
"""The migration that makes these tables."""

# An INTEGER PRIMARY KEY is the rowid of SQLite; a BIGINT is not.
_BIG = BigInteger().with_variant(Integer(), "sqlite")

# Names are compared byte by byte, as SQLite does, so that an index serves a prefix.
_NAME = Text().with_variant(Text(collation="C"), "postgresql")

# Postgres prunes a page when it is fuller than this (per cent), and until then every append walks over the versions of
# the row that it moves: 90 of them on a full page, which cost a small append half of its time in the database.
_MOVED_BY_EVERY_APPEND = 20


def _key(dialect: str, *columns: str) -> tuple[str, ...]:
    # On SQLite the planner would take a key that begins with the shard for the way to the whole log, and sort it.
    return columns if dialect == "sqlite" else ("shard", *columns)


def _shard() -> Column[int]:
    return Column("shard", Integer, nullable=False)


def _number(name: str, *, null: bool = False) -> Column[int]:
    # Keys are given by the writer, never by the database.
    return Column(name, _BIG, nullable=null, autoincrement=False)


def schema(dialect: str) -> MetaData:
    """The tables as they are in a database of this dialect ("sqlite" or "postgresql")."""
    metadata = MetaData()
    _log(metadata, dialect)
    _names(metadata, dialect)
    _work(metadata, dialect)
    _values(metadata, dialect)
    _derived(metadata, dialect)
    return metadata


def _log(metadata: MetaData, dialect: str) -> None:
    Table(
        "shards",
        metadata,
        # One row a shard: the head, the fence and the lease, moved together in one statement.
        Column("shard", Integer, nullable=False, autoincrement=False),
        _number("head_position"),
        _number("last_ordinal"),
        Column("owner", Text, nullable=True),
        _number("epoch"),
        _number("lease_expires_at_us", null=True),
        PrimaryKeyConstraint("shard"),
        postgresql_with={"fillfactor": _MOVED_BY_EVERY_APPEND},
    )
    Table(
        "events",
        metadata,
        # The record last: what is searched is then found without following its overflow pages.
        _shard(),
        _number("position"),
        _number("stream_key"),
        Column("stream_version", Integer, nullable=False),
        Column("type", SmallInteger, nullable=False),
        _number("recorded_at_us"),
        Column("tenant_key", Integer, nullable=False),
        Column("record", LargeBinary, nullable=False),
        PrimaryKeyConstraint(*_key(dialect, "position")),
        UniqueConstraint(*_key(dialect, "stream_key", "stream_version"), name="events_by_stream"),
        # The export and the subscription of one tenant must not cost what the others wrote (10 bytes an event).
        Index("events_by_tenant", *_by_tenant(dialect)),
    )


def _by_tenant(dialect: str) -> tuple[str, ...]:
    # An index of SQLite ends with the rowid anyway, and the rowid is the position.
    return ("tenant_key",) if dialect == "sqlite" else ("shard", "tenant_key", "position")


def _names(metadata: MetaData, dialect: str) -> None:
    Table(
        "tenants",
        metadata,
        _shard(),
        Column("tenant_key", Integer, nullable=False, autoincrement=False),
        Column("name", _NAME, nullable=False),
        # The tenant_sequence of its last event.
        _number("sequence"),
        PrimaryKeyConstraint(*_key(dialect, "tenant_key")),
        UniqueConstraint(*_key(dialect, "name"), name="tenants_by_name"),
        postgresql_with={"fillfactor": _MOVED_BY_EVERY_APPEND},
    )
    Table(
        "streams",
        metadata,
        # A stream's version is that of its last event, so an append to a stream that exists writes nothing here.
        _shard(),
        _number("stream_key"),
        Column("tenant_key", Integer, nullable=False),
        Column("stream_id", _NAME, nullable=False),
        PrimaryKeyConstraint(*_key(dialect, "stream_key")),
        UniqueConstraint(*_key(dialect, "tenant_key", "stream_id"), name="streams_by_id"),
    )


def _work(metadata: MetaData, dialect: str) -> None:
    Table(
        "open_workflows",
        metadata,
        _shard(),
        _number("stream_key"),
        # The head when it was opened: recovery goes in this order.
        _number("opened_position"),
        _number("wake_at_us", null=True),
        PrimaryKeyConstraint(*_key(dialect, "stream_key")),
    )
    Table(
        "output_chunks",
        metadata,
        _shard(),
        _number("ordinal"),
        _number("stream_key"),
        Column("step_id", Text, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("sequence", Integer, nullable=False),
        # The head when it became durable.
        _number("position"),
        Column("data", LargeBinary, nullable=False),
        PrimaryKeyConstraint(*_key(dialect, "ordinal")),
        UniqueConstraint(
            *_key(dialect, "stream_key", "step_id", "attempt", "sequence"), name="output_chunks_by_attempt"
        ),
        Index("output_chunks_by_stream", *_by_stream(dialect)),
    )


def _by_stream(dialect: str) -> tuple[str, ...]:
    return ("stream_key",) if dialect == "sqlite" else ("shard", "stream_key", "ordinal")


def _values(metadata: MetaData, dialect: str) -> None:
    Table(
        "payloads",
        metadata,
        _shard(),
        Column("tenant_key", Integer, nullable=False),
        Column("digest", LargeBinary, nullable=False),
        Column("size", Integer, nullable=False),
        # When it was last written: a payload is written before the event that names it.
        _number("touched_at_us"),
        Column("data", LargeBinary, nullable=False),
        PrimaryKeyConstraint(*_key(dialect, "tenant_key", "digest")),
    )
    Table(
        "data_keys",
        metadata,
        # The one table whose rows change: destroying a key erases what it sealed.
        Column("key_id", Text, nullable=False),
        Column("wrapped_key", LargeBinary, nullable=True),
        _number("destroyed_at_us", null=True),
        # Whose key it is. Of a key from before this column: inside what is wrapped.
        Column("tenant", _NAME, nullable=True),
        PrimaryKeyConstraint("key_id"),
    )


def _derived(metadata: MetaData, dialect: str) -> None:
    """What follows from the events and is kept because making it anew would take long."""
    Table(
        "tiles",
        metadata,
        # The full tiles of the Merkle tree: 256 hashes of 32 bytes. What has no full tile yet is hashed when asked.
        _shard(),
        Column("level", SmallInteger, nullable=False),
        _number("tile_index"),
        Column("hashes", LargeBinary, nullable=False),
        PrimaryKeyConstraint(*_key(dialect, "level", "tile_index")),
    )
    Table(
        "checkpoints",
        metadata,
        # What was signed. A checkpoint is never changed: a second one of a size must say the same.
        _shard(),
        _number("size"),
        Column("root", LargeBinary, nullable=False),
        Column("note", Text, nullable=False),
        PrimaryKeyConstraint(*_key(dialect, "size")),
    )
    Table(
        "snapshots",
        metadata,
        # The newest of a stream. One whose state_schema is not that of this version is as good as none.
        _shard(),
        _number("stream_key"),
        Column("stream_version", Integer, nullable=False),
        Column("state_schema", LargeBinary, nullable=False),
        Column("data", LargeBinary, nullable=False),
        PrimaryKeyConstraint(*_key(dialect, "stream_key")),
    )
