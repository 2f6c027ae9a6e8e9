"""What an append paid for besides its rows.

On Postgres the rows that every append moves are pruned often: until then each append walks over what the ones before
have left. On SQLite a refused REPLACE rolls its transaction back instead of its statement alone: for the latter every
statement that inserts an event had to copy the pages it changed.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REFUSED_BY_SQLITE = """
    CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events
    WHEN NEW.position <= (SELECT max(position) FROM events)
    OR EXISTS (
        SELECT 1 FROM events
        WHERE stream_key = NEW.stream_key AND stream_version = NEW.stream_version
    )
    BEGIN SELECT RAISE(ROLLBACK, 'events are immutable: REPLACE refused'); END
    """


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TRIGGER events_refuse_replace")
        op.execute(REFUSED_BY_SQLITE)
    else:
        for table in ("shards", "tenants"):
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 20)")
