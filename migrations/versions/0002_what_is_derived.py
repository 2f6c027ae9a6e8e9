"""What is derived from the log: the Merkle tree's tiles, signed checkpoints, snapshots; and whose a data key is."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    on_sqlite = op.get_context().dialect.name == "sqlite"
    # A file of SQLite holds one shard.
    shard = () if on_sqlite else ("shard",)
    op.add_column("data_keys", sa.Column("tenant", NAME, nullable=True))
    op.create_table(
        "tiles",
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("tile_index", BIG, nullable=False, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint(*shard, "level", "tile_index"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("size", BIG, nullable=False, autoincrement=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint(*shard, "size"),
    )
    op.create_table(
        "snapshots",
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("stream_key", BIG, nullable=False, autoincrement=False),
        sa.Column("stream_version", sa.Integer, nullable=False),
        sa.Column("state_schema", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint(*shard, "stream_key"),
    )
    if not on_sqlite:
        # An ordinary trigger is silent in a session that calls itself a replica.
        op.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER events_refuse_change")
        # Ahead of the first there is no place. On SQLite the trigger that refuses REPLACE refuses it, too.
        op.execute("ALTER TABLE events ADD CONSTRAINT events_have_a_place CHECK (position > 0)")
