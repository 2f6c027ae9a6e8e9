"""The append on Postgres: one statement that moves the head and inserts a batch, if the head and the epoch are ours.

Nothing is locked across a round trip: the statement commits by itself. Its first part is the compare-and-swap of the
shard's row, and every other part joins what that returned, so a stale owner's statement changes nothing at all. A
statement has only the parts that its batch needs; the few shapes that occur stay prepared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from store.backend import Batch


class Statement(NamedTuple):
    """A statement and its values. It returns one row when it took effect, and none when the shard is not ours."""

    text: str
    values: list[object]


_MOVED = """moved AS (
  UPDATE shards SET head_position = $1, last_ordinal = $2,
    lease_expires_at_us = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $3
  WHERE shard = $4 AND head_position = $5 AND epoch = $6
  RETURNING shard
)"""


def append_statement(batch: Batch, *, shard: int, epoch: int, lease_us: int) -> Statement:
    """The statement that makes a batch durable, all or nothing, and renews the lease."""
    parts = _Parts([batch.new_head, batch.last_ordinal, lease_us, shard, batch.old_head, epoch])
    _names(parts, batch)
    _events(parts, batch)
    _work(parts, batch)
    _values(parts, batch)
    _derived(parts, batch)
    return Statement(f"WITH {', '.join([_MOVED, *parts.texts])} SELECT shard FROM moved", parts.values)


class _Parts:
    """The parts of a statement as they are put together."""

    def __init__(self, values: list[object]) -> None:
        self.texts: list[str] = []
        self.values = values

    def value(self, value: object) -> str:
        """A parameter."""
        self.values.append(value)
        return f"${len(self.values)}"

    def rows(self, rows: Iterable[Sequence[object]], *types: str) -> str:
        """Rows as arrays, a column each: a statement of one shape for any number of rows."""
        columns = zip(*rows, strict=True)
        arrays = [f"{self.value(column)}::{kind}[]" for column, kind in zip(columns, types, strict=True)]
        return f"unnest({', '.join(arrays)})"

    def numbers(self, column: Iterable[int], kind: str) -> str:
        """A long column of integers, as the text of an array: the driver looks at each element of a sequence thrice."""
        return f"{self.value(f'{{{str([*column])[1:-1]}}}')}::text::{kind}[]"

    def add(self, text: str) -> None:
        """A part that changes something."""
        self.texts.append(f"part_{len(self.texts)} AS ({text})")


def _names(parts: _Parts, batch: Batch) -> None:
    if batch.tenants:
        rows = [(key, name, batch.sequences.get(key, 0)) for key, name in batch.tenants.items()]
        source = parts.rows(rows, "int", "text", "bigint")
        parts.add(
            "INSERT INTO tenants (shard, tenant_key, name, sequence) "
            f"SELECT moved.shard, r.* FROM moved, {source} AS r (tenant_key, name, sequence)"
        )
    # A row that this statement inserts is not there yet for its other parts.
    known = [(key, sequence) for key, sequence in batch.sequences.items() if key not in batch.tenants]
    if known:
        source = parts.rows(known, "int", "bigint")
        parts.add(
            f"UPDATE tenants SET sequence = r.sequence FROM moved, {source} AS r (tenant_key, sequence) "
            "WHERE tenants.shard = moved.shard AND tenants.tenant_key = r.tenant_key"
        )
    if batch.streams:
        source = parts.rows([row[1:] for row in batch.streams], "bigint", "int", "text")
        parts.add(
            "INSERT INTO streams (shard, stream_key, tenant_key, stream_id) "
            f"SELECT moved.shard, r.* FROM moved, {source} AS r (stream_key, tenant_key, stream_id)"
        )


def _events(parts: _Parts, batch: Batch) -> None:
    if not batch.events:
        return
    # Positions follow the old head one by one, and a batch has one stamp: neither needs an array.
    _, keys, versions, types, tenants, records = zip(*batch.events, strict=True)
    numbers = zip((keys, versions, types, tenants), ("bigint", "int", "smallint", "int"), strict=True)
    arrays = [parts.numbers(column, kind) for column, kind in numbers]
    source = f"unnest({', '.join(arrays)}, {parts.value(records)}::bytea[])"
    stamp = f"{parts.value(batch.recorded_at_us)}::bigint"
    parts.add(
        "INSERT INTO events (shard, position, stream_key, stream_version, type, recorded_at_us, tenant_key, record) "
        f"SELECT moved.shard, $5 + r.number, r.stream_key, r.stream_version, r.type, {stamp}, r.tenant_key, r.record "
        f"FROM moved, {source} WITH ORDINALITY AS r (stream_key, stream_version, type, tenant_key, record, number)"
    )


def _work(parts: _Parts, batch: Batch) -> None:
    opened = [(key, *entry) for key, entry in batch.opened.items()]
    # One statement may touch a row once: what was closed and opened again is written over, with its new position.
    again = [row for row in opened if row[0] in batch.closed]
    closed = [(key,) for key in batch.closed if key not in batch.opened]
    for rows, kept in (([row for row in opened if row[0] not in batch.closed], True), (again, False)):
        if rows:
            source = parts.rows(rows, "bigint", "bigint", "bigint")
            position = "" if kept else "opened_position = excluded.opened_position, "
            parts.add(
                "INSERT INTO open_workflows (shard, stream_key, opened_position, wake_at_us) "
                f"SELECT moved.shard, r.* FROM moved, {source} AS r (stream_key, opened_position, wake_at_us) "
                f"ON CONFLICT (shard, stream_key) DO UPDATE SET {position}wake_at_us = excluded.wake_at_us"
            )
    if closed:
        source = parts.rows(closed, "bigint")
        parts.add(
            f"DELETE FROM open_workflows USING moved, {source} AS r (stream_key) "
            "WHERE open_workflows.shard = moved.shard AND open_workflows.stream_key = r.stream_key"
        )


def _values(parts: _Parts, batch: Batch) -> None:
    if batch.chunks:
        source = parts.rows(
            [row[1:] for row in batch.chunks], "bigint", "bigint", "text", "int", "int", "bigint", "bytea"
        )
        columns = "ordinal, stream_key, step_id, attempt, sequence, position, data"
        parts.add(
            f"INSERT INTO output_chunks (shard, {columns}) "
            f"SELECT moved.shard, r.* FROM moved, {source} AS r ({columns})"
        )
    if batch.payloads:
        last = {row[1:3]: row[1:] for row in batch.payloads}
        source = parts.rows(last.values(), "int", "bytea", "int", "bigint", "bytea")
        columns = "tenant_key, digest, size, touched_at_us, data"
        parts.add(
            f"INSERT INTO payloads (shard, {columns}) SELECT moved.shard, r.* FROM moved, {source} AS r ({columns}) "
            "ON CONFLICT (shard, tenant_key, digest) DO UPDATE SET touched_at_us = excluded.touched_at_us"
        )
    if batch.data_keys:
        source = parts.rows(_last_keys(batch), "text", "bytea", "bigint", "text")
        columns = "key_id, wrapped_key, destroyed_at_us, tenant"
        parts.add(
            f"INSERT INTO data_keys ({columns}) SELECT r.* FROM moved, {source} AS r ({columns}) "
            "ON CONFLICT (key_id) DO UPDATE SET wrapped_key = excluded.wrapped_key, "
            "destroyed_at_us = excluded.destroyed_at_us WHERE data_keys.wrapped_key IS NOT NULL"
        )


def _last_keys(batch: Batch) -> Iterable[Sequence[object]]:
    last: dict[str, Sequence[object]] = {}
    for row in batch.data_keys:
        stored = last.get(row[0])
        # One that was destroyed stays so.
        if stored is None or stored[1] is not None:
            last[row[0]] = row
    return last.values()


def _derived(parts: _Parts, batch: Batch) -> None:
    if batch.snapshots:
        newest = {row[1]: row[1:] for row in sorted(batch.snapshots, key=lambda row: row[2])}
        source = parts.rows(newest.values(), "bigint", "int", "bytea", "bytea")
        columns = "stream_key, stream_version, state_schema, data"
        parts.add(
            f"INSERT INTO snapshots (shard, {columns}) SELECT moved.shard, r.* FROM moved, {source} AS r ({columns}) "
            "ON CONFLICT (shard, stream_key) DO UPDATE SET stream_version = excluded.stream_version, "
            "state_schema = excluded.state_schema, data = excluded.data "
            "WHERE excluded.stream_version >= snapshots.stream_version"
        )
    if batch.tiles:
        source = parts.rows([row[1:] for row in batch.tiles], "smallint", "bigint", "bytea")
        parts.add(
            "INSERT INTO tiles (shard, level, tile_index, hashes) "
            f"SELECT moved.shard, r.* FROM moved, {source} AS r (level, tile_index, hashes) ON CONFLICT DO NOTHING"
        )
    if batch.checkpoints:
        source = parts.rows([row[1:] for row in batch.checkpoints], "bigint", "bytea", "text")
        parts.add(
            "INSERT INTO checkpoints (shard, size, root, note) "
            f"SELECT moved.shard, r.* FROM moved, {source} AS r (size, root, note) ON CONFLICT DO NOTHING"
        )
