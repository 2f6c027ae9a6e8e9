"""How far each generation of a projection has come, kept beside its rows so that both commit together.

A projection's tables exist in generations: one is read, and while it is rebuilt the next one is built beside it. A
checkpoint names the log it was made from, by the digest of the record at its position. After a restore of the log
from a backup that position is missing or holds another record, and then the rows describe events that never were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    inspect,
    select,
)

from service.projections.database import PreparedStatement
from store.contract import EventReader, RecordedEvent
from store.records import TYPE_NAMES

METADATA = MetaData()
CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("projection", Text, primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    # Whether it is the one that is read: one of each projection is.
    Column("is_served", Boolean, nullable=False),
    Column("schema_version", Integer, nullable=False),
    # Where the log's head was when its building began: before that it is not fit to be read.
    Column("whole_at", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("record_digest", LargeBinary, nullable=False),
    # The numbers of the types that were passed over because this version did not know them, with commas between.
    Column("unknown_types", Text, nullable=False),
)

_MOVE = PreparedStatement(
    CHECKPOINTS.update()
    .where(
        CHECKPOINTS.c.projection == bindparam("of_projection"),
        CHECKPOINTS.c.generation == bindparam("of_generation"),
        CHECKPOINTS.c.position == bindparam("at_position"),
    )
    .values({name: bindparam(f"to_{name}") for name in ("position", "record_digest", "unknown_types")})
)


class CheckpointMovedError(Exception):
    """A checkpoint is not where its writer left it: somebody else writes the same tables. Nothing was written."""


class Checkpoint(NamedTuple):
    """Where a generation is."""

    position: int
    """The position of the last event it applied; 0: none."""
    record_digest: bytes
    """SHA-256 of that event's record."""
    unknown_types: frozenset[int]
    """The ignorable types it did not know."""

    def after(self, events: Iterable[RecordedEvent], last: RecordedEvent) -> Checkpoint:
        """The checkpoint after more events, of which `last` is the last."""
        unknown = self.unknown_types | ({event.type for event in events} - TYPE_NAMES.keys())
        return Checkpoint(last.position, hashlib.sha256(last.record).digest(), unknown)


ORIGIN = Checkpoint(0, b"", frozenset())


class Stored(NamedTuple):
    """A generation as it is stored."""

    projection: str
    generation: int
    is_served: bool
    schema_version: int
    whole_at: int
    checkpoint: Checkpoint = ORIGIN


def prepare(connection: Connection) -> None:
    """Make the table. One of an older layout goes, and all projections are built anew."""
    inspector = inspect(connection)
    if inspector.has_table(CHECKPOINTS.name):
        found = {column["name"] for column in inspector.get_columns(CHECKPOINTS.name)}
        if found != set(CHECKPOINTS.columns.keys()):
            CHECKPOINTS.drop(connection)
    METADATA.create_all(connection)


def load(connection: Connection, projection: str) -> list[Stored]:
    """Read a projection's generations, the oldest first."""
    query = select(CHECKPOINTS).where(CHECKPOINTS.c.projection == projection).order_by(CHECKPOINTS.c.generation)
    return [
        Stored(
            row.projection,
            row.generation,
            row.is_served,
            row.schema_version,
            row.whole_at,
            Checkpoint(row.position, row.record_digest, _numbers(row.unknown_types)),
        )
        for row in connection.execute(query)
    ]


def add(connection: Connection, stored: Stored) -> None:
    """Write down a generation that begins."""
    row = stored._asdict()
    row.update(_columns(row.pop("checkpoint")))
    connection.execute(CHECKPOINTS.insert(), row)


def remove(connection: Connection, projection: str, generation: int) -> None:
    """Forget a generation."""
    connection.execute(CHECKPOINTS.delete().where(*_one(projection, generation)))


def move(connection: Connection, projection: str, generation: int, before: Checkpoint, after: Checkpoint) -> None:
    """Move a checkpoint, in the transaction that writes its rows and before them, so that two writers cannot meet.

    Raises:
        CheckpointMovedError: It is not where it was left.
    """
    at = {"of_projection": projection, "of_generation": generation, "at_position": before.position}
    if _MOVE.execute(connection, {**at, **{f"to_{name}": value for name, value in _columns(after).items()}}) != 1:
        raise CheckpointMovedError(
            f"the checkpoint of {projection}, generation {generation}, is not at {before.position}: "
            "another writer is at work"
        )


def is_at(connection: Connection, projection: str, generation: int, checkpoint: Checkpoint) -> bool:
    """Whether a generation is at a checkpoint."""
    at = (CHECKPOINTS.c.position == checkpoint.position, CHECKPOINTS.c.record_digest == checkpoint.record_digest)
    query = select(CHECKPOINTS.c.position).where(*_one(projection, generation), *at)
    return connection.execute(query).one_or_none() is not None


def serve(connection: Connection, projection: str, generation: int) -> None:
    """Make a generation the one that is read, and forget the others. Doing so again changes nothing.

    Raises:
        CheckpointMovedError: There is no such generation.
    """
    served = CHECKPOINTS.update().where(*_one(projection, generation)).values(is_served=True)
    if connection.execute(served).rowcount != 1:
        raise CheckpointMovedError(f"generation {generation} of {projection} is gone: another writer is at work")
    of_others = (CHECKPOINTS.c.projection == projection, CHECKPOINTS.c.generation != generation)
    connection.execute(CHECKPOINTS.delete().where(*of_others))


async def misfit(log: EventReader, stored: Stored, schema_version: int) -> str:
    """Why a generation's rows are not what this version would make of this log; empty: they are."""
    if stored.schema_version != schema_version:
        return f"its tables are of version {stored.schema_version}, not {schema_version}"
    checkpoint = stored.checkpoint
    if known := sorted(TYPE_NAMES[t] for t in checkpoint.unknown_types if t in TYPE_NAMES):
        return f"it passed over events that are known now: {', '.join(known)}"
    if checkpoint.position == 0:
        return ""
    found = await log.read_all(after_position=checkpoint.position - 1, limit=1)
    if not found:
        return f"it is at {checkpoint.position}, ahead of the log"
    if hashlib.sha256(found[0].record).digest() != checkpoint.record_digest:
        return f"the log has another event at {checkpoint.position}"
    return ""


def served_position(connection: Connection, projection: str) -> int:
    """The position of the generation that is served, in the view that the connection reads."""
    query = select(CHECKPOINTS.c.position).where(CHECKPOINTS.c.projection == projection, CHECKPOINTS.c.is_served)
    return int(connection.execute(query).scalar_one())


def _one(projection: str, generation: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return CHECKPOINTS.c.projection == projection, CHECKPOINTS.c.generation == generation


def _columns(checkpoint: Checkpoint) -> dict[str, object]:
    numbers = ",".join(str(number) for number in sorted(checkpoint.unknown_types))
    return {"position": checkpoint.position, "record_digest": checkpoint.record_digest, "unknown_types": numbers}


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(number) for number in text.split(",") if number)
