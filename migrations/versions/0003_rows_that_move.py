"""The rows that every append moves are pruned often on Postgres: each append walks over what the ones before left."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        for table in ("shards", "tenants"):
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 20)")
