"""The log: shards, events, the names they use, open work, streamed output, payloads and data keys.

A migration is never edited once it was released, so it repeats what `store.tables` says instead of importing it.
There is no way down: the log is not to be dropped by a command.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

REFUSED_BY_SQLITE = (
    """
    CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are immutable: UPDATE refused'); END
    """,
    """
    CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are immutable: DELETE refused'); END
    """,
    # INSERT OR REPLACE deletes the row in its way without firing the trigger above. This costs 1 us an event.
    """
    CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events
    WHEN NEW.position <= (SELECT max(position) FROM events)
    OR EXISTS (
        SELECT 1 FROM events
        WHERE stream_key = NEW.stream_key AND stream_version = NEW.stream_version
    )
    BEGIN SELECT RAISE(ABORT, 'events are immutable: REPLACE refused'); END
    """,
)

REFUSED_BY_POSTGRES = (
    """
    CREATE FUNCTION events_refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'events are immutable: % refused', TG_OP; END $$
    """,
    """
    CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_refuse_change()
    """,
)


def upgrade() -> None:
    on_sqlite = op.get_context().dialect.name == "sqlite"
    create_log(on_sqlite=on_sqlite)
    create_names(on_sqlite=on_sqlite)
    create_work(on_sqlite=on_sqlite)
    create_values(on_sqlite=on_sqlite)
    for statement in REFUSED_BY_SQLITE if on_sqlite else REFUSED_BY_POSTGRES:
        op.execute(statement)


def key(*columns: str, on_sqlite: bool) -> tuple[str, ...]:
    # A file of SQLite holds one shard.
    return columns if on_sqlite else ("shard", *columns)


def create_log(*, on_sqlite: bool) -> None:
    op.create_table(
        "shards",
        sa.Column("shard", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("head_position", BIG, nullable=False),
        sa.Column("last_ordinal", BIG, nullable=False),
        sa.Column("owner", sa.Text, nullable=True),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("lease_expires_at_us", BIG, nullable=True),
        sa.PrimaryKeyConstraint("shard"),
    )
    op.create_table(
        "events",
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("position", BIG, nullable=False, autoincrement=False),
        sa.Column("stream_key", BIG, nullable=False),
        sa.Column("stream_version", sa.Integer, nullable=False),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("recorded_at_us", BIG, nullable=False),
        sa.Column("tenant_key", sa.Integer, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint(*key("position", on_sqlite=on_sqlite)),
        sa.UniqueConstraint(*key("stream_key", "stream_version", on_sqlite=on_sqlite), name="events_by_stream"),
    )
    by_tenant = ["tenant_key"] if on_sqlite else ["shard", "tenant_key", "position"]
    op.create_index("events_by_tenant", "events", by_tenant)


def create_names(*, on_sqlite: bool) -> None:
    op.create_table(
        "tenants",
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("tenant_key", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("sequence", BIG, nullable=False),
        sa.PrimaryKeyConstraint(*key("tenant_key", on_sqlite=on_sqlite)),
        sa.UniqueConstraint(*key("name", on_sqlite=on_sqlite), name="tenants_by_name"),
    )
    op.create_table(
        "streams",
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("stream_key", BIG, nullable=False, autoincrement=False),
        sa.Column("tenant_key", sa.Integer, nullable=False),
        sa.Column("stream_id", NAME, nullable=False),
        sa.PrimaryKeyConstraint(*key("stream_key", on_sqlite=on_sqlite)),
        sa.UniqueConstraint(*key("tenant_key", "stream_id", on_sqlite=on_sqlite), name="streams_by_id"),
    )


def create_work(*, on_sqlite: bool) -> None:
    op.create_table(
        "open_workflows",
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("stream_key", BIG, nullable=False, autoincrement=False),
        sa.Column("opened_position", BIG, nullable=False),
        sa.Column("wake_at_us", BIG, nullable=True),
        sa.PrimaryKeyConstraint(*key("stream_key", on_sqlite=on_sqlite)),
    )
    op.create_table(
        "output_chunks",
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("ordinal", BIG, nullable=False, autoincrement=False),
        sa.Column("stream_key", BIG, nullable=False),
        sa.Column("step_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("position", BIG, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint(*key("ordinal", on_sqlite=on_sqlite)),
        sa.UniqueConstraint(
            *key("stream_key", "step_id", "attempt", "sequence", on_sqlite=on_sqlite), name="output_chunks_by_attempt"
        ),
    )
    by_stream = ["stream_key"] if on_sqlite else ["shard", "stream_key", "ordinal"]
    op.create_index("output_chunks_by_stream", "output_chunks", by_stream)


def create_values(*, on_sqlite: bool) -> None:
    op.create_table(
        "payloads",
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("tenant_key", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("touched_at_us", BIG, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint(*key("tenant_key", "digest", on_sqlite=on_sqlite)),
    )
    op.create_table(
        "data_keys",
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=True),
        sa.Column("destroyed_at_us", BIG, nullable=True),
        sa.PrimaryKeyConstraint("key_id"),
    )
