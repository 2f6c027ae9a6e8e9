"""What a database must do for the writer, and the rows that cross that line.

The writer decides everything (positions, versions, keys, bytes) before the backend is asked, so a backend only
inserts, and all of a batch or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from store.contract import OwnershipLostError

OnPoint = Callable[[str], None]
"""Told of each point a group commit passes: "committing" (nothing is written), "written" (in the transaction, on the
writer's thread), "committed" (durable, nobody knows) and "acknowledged". A fault test ends the process there."""

OnLost = Callable[[OwnershipLostError], None]
"""Told on the loop, once, that another process owns the shard."""

EventRow = tuple[int, int, int, int, int, bytes]
"""position, stream_key, stream_version, type, tenant_key, record."""

ChunkRow = tuple[int, int, int, str, int, int, int, bytes]
"""shard, ordinal, stream_key, step_id, attempt, sequence, position, data."""

PayloadRow = tuple[int, int, bytes, int, int, bytes]
"""shard, tenant_key, digest, size, touched_at_us, data."""

DataKeyRow = tuple[str, bytes | None, int | None, str | None]
"""key_id, wrapped_key, destroyed_at_us, tenant."""

SnapshotRow = tuple[int, int, int, bytes, bytes]
"""shard, stream_key, stream_version, state_schema, data."""

TileRow = tuple[int, int, int, bytes]
"""shard, level, tile_index, hashes."""

CheckpointRow = tuple[int, int, bytes, str]
"""shard, size, root, note."""


class TenantState(NamedTuple):
    """A tenant as it is stored."""

    tenant_key: int
    name: str
    sequence: int


@dataclass(frozen=True, slots=True)
class ShardState:
    """A shard as its new owner finds it."""

    epoch: int
    head: int
    last_recorded_at_us: int
    last_ordinal: int
    last_stream_key: int
    tenants: Sequence[TenantState]


class StreamName(NamedTuple):
    """A stream to look up."""

    tenant_key: int
    tenant: str
    stream_id: str


class AttemptName(NamedTuple):
    """An attempt to look up."""

    tenant_key: int
    tenant: str
    stream_id: str
    step_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Cold:
    """What a group names and the writer does not have in memory."""

    streams: Sequence[StreamName]
    attempts: Sequence[AttemptName]


class StreamState(NamedTuple):
    """A stream as it is stored."""

    stream_key: int
    version: int


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The answers to a Cold, in its order."""

    streams: Sequence[StreamState | None]
    """None: the stream does not exist."""
    attempts: Sequence[int]
    """The sequence of the attempt's last chunk; 0: it has none."""


@dataclass(slots=True)
class Batch:
    """What one group commit writes."""

    old_head: int
    new_head: int
    old_ordinal: int
    last_ordinal: int
    recorded_at_us: int
    """The stamp of all of its events."""
    tenants: dict[int, str] = field(default_factory=dict)
    """New tenants, by key."""
    sequences: dict[int, int] = field(default_factory=dict)
    """The tenant_sequence of each tenant's last event, by key."""
    streams: list[tuple[int, int, int, str]] = field(default_factory=list)
    """New streams: shard, stream_key, tenant_key, stream_id."""
    events: list[EventRow] = field(default_factory=list)
    """New events; their positions follow the old head one by one."""
    closed: set[int] = field(default_factory=set)
    """Streams to remove from the open workflows, before the opened ones are written."""
    opened: dict[int, tuple[int, int | None]] = field(default_factory=dict)
    """Open workflows to write: opened_position (kept when there is an entry) and wake_at_us, by stream_key."""
    chunks: list[ChunkRow] = field(default_factory=list)
    payloads: list[PayloadRow] = field(default_factory=list)
    data_keys: list[DataKeyRow] = field(default_factory=list)
    snapshots: list[SnapshotRow] = field(default_factory=list)
    tiles: list[TileRow] = field(default_factory=list)
    checkpoints: list[CheckpointRow] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.events
            or self.opened
            or self.closed
            or self.chunks
            or self.payloads
            or self.data_keys
            or self.snapshots
            or self.tiles
            or self.checkpoints
        )


class Backend(Protocol):
    """A database that holds one shard for this process. Any error of `commit` ends the ownership."""

    @property
    def is_current(self) -> bool:
        """Whether what memory says of the shard may be shown: nobody else owns it, as far as this process can know."""

    @property
    def owner(self) -> str:
        """This process, by machine and id; empty before it owned the shard."""

    @property
    def lease_left_s(self) -> float | None:
        """How long nobody else may take the shard if it is not renewed; None: for as long as this process has it."""

    async def open(self, on_lost: OnLost) -> ShardState:
        """Take ownership and raise the epoch. Raises DatabaseInUseError or SchemaMismatchError."""

    async def look_up(self, cold: Cold) -> LookedUp:
        """Look up streams and attempts. Called between commits only."""

    async def commit(self, batch: Batch) -> None:
        """Make a batch durable, all or nothing. Raises OwnershipLostError when the head or epoch has moved."""

    async def close(self) -> None:
        """Let go of the shard. Harmless when it is not open."""
