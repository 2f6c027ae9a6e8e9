"""The plainest projection: it writes down every event it is given, and would write one down twice."""

from functools import partial

from sqlalchemy import BigInteger, Column, MetaData, Table, select


class Tally:
    name = "tally"

    def __init__(self, generation, *, schema_version=1, fails_at=None):
        self.schema_version = schema_version
        self.fails_at = fails_at
        self.metadata = MetaData()
        self.table = Table(f"tally_{generation}", self.metadata, Column("position", BigInteger))

    def apply(self, connection, events):
        for event in events:
            if event.position == self.fails_at:
                raise ArithmeticError(f"a bug at {event.position}")
        connection.execute(self.table.insert(), [{"position": event.position} for event in events])


def tally(**settings):
    """A tally with these settings, of whatever generation."""
    return partial(Tally, **settings)


async def tallied(runner):
    """What a tally wrote down, by position."""
    return await runner.model.read(lambda connection, made: sorted(connection.scalars(select(made.table.c.position))))
