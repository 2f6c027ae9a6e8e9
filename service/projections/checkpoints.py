"""How far each projection has come, kept beside its rows so that both commit together.

A checkpoint names the log it was made from: by the digest of the record at its position. After a restore of the log
from a backup that position is missing or holds another record, and then the rows describe events that never were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, Text, inspect, select

from store.contract import EventReader, RecordedEvent
from store.records import TYPE_NAMES

METADATA = MetaData()
CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("projection", Text, primary_key=True),
    Column("schema_version", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("record_digest", LargeBinary, nullable=False),
    # The numbers of the types that were passed over because this version did not know them, with commas between.
    Column("unknown_types", Text, nullable=False),
)


class Tables(Protocol):
    """What a projection says about the tables it keeps."""

    @property
    def name(self) -> str:
        """Its name. Its tables are called this, or this, an underscore and more."""

    @property
    def schema_version(self) -> int:
        """Raised whenever its tables, or what it writes into them, change."""

    @property
    def metadata(self) -> MetaData:
        """Its tables."""


class Checkpoint(NamedTuple):
    """Where a projection is."""

    position: int
    """The position of the last event it applied; 0: none."""
    record_digest: bytes
    """SHA-256 of that event's record."""
    unknown_types: frozenset[int]
    """The ignorable types it did not know."""

    def after(self, events: Iterable[RecordedEvent], last: RecordedEvent) -> Checkpoint:
        """The checkpoint after more events, of which `last` is the last."""
        unknown = self.unknown_types.union(e.type for e in events if e.type not in TYPE_NAMES)
        return Checkpoint(last.position, hashlib.sha256(last.record).digest(), unknown)


ORIGIN = Checkpoint(0, b"", frozenset())


def load(connection: Connection, tables: Tables) -> Checkpoint | None:
    """Read a projection's checkpoint; None: its tables are missing or of another version."""
    METADATA.create_all(connection)
    row = connection.execute(select(CHECKPOINTS).where(CHECKPOINTS.c.projection == tables.name)).one_or_none()
    if row is None or row.schema_version != tables.schema_version:
        return None
    unknown = frozenset(int(number) for number in row.unknown_types.split(",") if number)
    return Checkpoint(row.position, row.record_digest, unknown)


async def misfit(log: EventReader, checkpoint: Checkpoint) -> str:
    """Why the rows up to a checkpoint are not what this version would make of this log; empty: they are."""
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


def reset(connection: Connection, tables: Tables) -> None:
    """Drop what the projection keeps, in whatever version, and make its tables anew with nothing in them."""
    names = inspect(connection).get_table_names()
    own = [n for n in names if n == tables.name or n.startswith(f"{tables.name}_")]
    for name in own:
        Table(name, MetaData()).drop(connection)
    tables.metadata.create_all(connection)
    connection.execute(CHECKPOINTS.delete().where(CHECKPOINTS.c.projection == tables.name))
    connection.execute(CHECKPOINTS.insert(), _row(tables, ORIGIN))


def move(connection: Connection, tables: Tables, checkpoint: Checkpoint) -> None:
    """Write a projection's checkpoint, in the transaction that writes its rows."""
    row = _row(tables, checkpoint)
    connection.execute(CHECKPOINTS.update().where(CHECKPOINTS.c.projection == tables.name).values(row))


def position_of(connection: Connection, tables: Tables) -> int:
    """The position of a projection in the view that the connection reads."""
    query = select(CHECKPOINTS.c.position).where(CHECKPOINTS.c.projection == tables.name)
    return int(connection.execute(query).scalar_one())


def _row(tables: Tables, checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "projection": tables.name,
        "schema_version": tables.schema_version,
        "position": checkpoint.position,
        "record_digest": checkpoint.record_digest,
        "unknown_types": ",".join(str(number) for number in sorted(checkpoint.unknown_types)),
    }
