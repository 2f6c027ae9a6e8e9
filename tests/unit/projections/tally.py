"""The plainest projection: it writes down every event it is given, and would write one down twice."""

from sqlalchemy import Column, Integer, MetaData, Table, select


class Tally:
    name = "tally"

    def __init__(self, schema_version=1, fails_at=None):
        self.schema_version = schema_version
        self.fails_at = fails_at
        self.metadata = MetaData()
        self.table = Table("tally", self.metadata, Column("position", Integer))

    def apply(self, connection, events):
        for event in events:
            if event.position == self.fails_at:
                raise ArithmeticError(f"a bug at {event.position}")
        connection.execute(self.table.insert(), [{"position": event.position} for event in events])

    async def positions(self, database):
        """What it wrote down, in the order in which it did."""
        query = select(self.table.c.position)
        return await database.read(lambda connection: list(connection.scalars(query)))
