"""What waits in the writer's queue: appends, chunks, payloads and what is derived, in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from store.contract import (
    Append,
    DataKey,
    InvalidAppendError,
    OnCommitted,
    OutputChunk,
    RecordedChunk,
    SignedCheckpoint,
    Snapshot,
    StoreError,
    Tile,
)
from store.records import encode_rest

StreamKey = tuple[str, str]
"""tenant, stream_id."""

AttemptKey = tuple[str, str, str, int]
"""tenant, workflow_id, step_id, attempt."""


class AppendUnit:
    """An append in the queue. All of its events that does not depend on their place is encoded as it is made."""

    __slots__ = ("append", "done", "event_count", "names", "refusal", "rests")

    data_bytes = 0
    """What it weighs against the bounds in bytes: nothing, its events are counted instead."""

    def __init__(self, append: Append, done: OnCommitted) -> None:
        parts, opened, closed = append
        self.append = append
        self.done = done
        self.names: list[StreamKey] = [(part.tenant, part.stream_id) for part in parts]
        """The streams it names."""
        if opened:
            self.names.extend([(workflow.tenant, workflow.stream_id) for workflow in opened])
        if closed:
            self.names.extend(closed)
        self.event_count = 0
        """How many events it adds."""
        self.rests: list[list[tuple[int, bytes]]] = []
        """By stream, what `encode_rest` made of each event."""
        self.refusal: InvalidAppendError | None = None
        """Why it cannot be recorded, whatever the streams are at."""
        for _, stream_id, _, events in parts:
            self.event_count += len(events)
            try:
                self.rests.append([encode_rest(payload, envelope) for payload, envelope in events])
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one event is no reason to stop the shard
                self.refusal = InvalidAppendError(f"an event of stream {stream_id} cannot be encoded: {error!r}")
                self.refusal.__cause__ = error
                self.rests.append([])


@dataclass(slots=True)
class ChunksUnit:
    """Chunks in the queue. The outcome has None in the place of a chunk that was durable already."""

    chunks: Sequence[OutputChunk]
    done: Callable[[list[RecordedChunk | None] | StoreError], None]
    data_bytes: int

    @property
    def event_count(self) -> int:
        """How many rows it adds."""
        return len(self.chunks)

    @property
    def names(self) -> Sequence[StreamKey]:
        """The streams it names."""
        return [(chunk.tenant, chunk.workflow_id) for chunk in self.chunks]


@dataclass(slots=True)
class PayloadUnit:
    """A payload in the queue. The outcome is its digest."""

    tenant: str
    digest: bytes
    data: bytes
    done: Callable[[bytes | StoreError], None]

    @property
    def data_bytes(self) -> int:
        """What it weighs against the bounds in bytes."""
        return len(self.data)

    @property
    def event_count(self) -> int:
        """How many rows it adds."""
        return 1

    @property
    def names(self) -> Sequence[StreamKey]:
        """The streams it names."""
        return ()


@dataclass(slots=True)
class DataKeyUnit:
    """A data key in the queue. The outcome is the key."""

    key: DataKey
    done: Callable[[DataKey | StoreError], None]
    data_bytes: int = 0
    """What it weighs against the bounds in bytes: nothing worth counting."""

    @property
    def event_count(self) -> int:
        """How many rows it adds."""
        return 1

    @property
    def names(self) -> Sequence[StreamKey]:
        """The streams it names."""
        return ()


@dataclass(slots=True)
class SnapshotUnit:
    """A snapshot in the queue. The outcome is the snapshot."""

    snapshot: Snapshot
    done: Callable[[Snapshot | StoreError], None]

    @property
    def data_bytes(self) -> int:
        """What it weighs against the bounds in bytes."""
        return len(self.snapshot.data)

    @property
    def event_count(self) -> int:
        """How many rows it adds."""
        return 1

    @property
    def names(self) -> Sequence[StreamKey]:
        """The streams it names."""
        return [(self.snapshot.tenant, self.snapshot.stream_id)]


@dataclass(slots=True)
class TreeUnit:
    """Tiles and a checkpoint in the queue. The outcome is the tiles."""

    tiles: Sequence[Tile]
    checkpoint: SignedCheckpoint | None
    done: Callable[[Sequence[Tile] | StoreError], None]

    @property
    def data_bytes(self) -> int:
        """What it weighs against the bounds in bytes."""
        return sum([len(tile.hashes) for tile in self.tiles])

    @property
    def event_count(self) -> int:
        """How many rows it adds."""
        return len(self.tiles) + (self.checkpoint is not None)

    @property
    def names(self) -> Sequence[StreamKey]:
        """The streams it names."""
        return ()


NAME_BYTES = 1000
"""What a name may take in UTF-8: an index of Postgres holds not much more."""
_INTEGER_END = 2**31


def is_storable(name: str) -> bool:
    """Whether every database can hold a name: text in UTF-8 without NUL, and not longer than an index takes."""
    try:
        return 0 < len(name.encode()) <= NAME_BYTES and "\0" not in name
    except UnicodeEncodeError:
        return False


def unstorable_in(unit: Unit) -> str:
    """What in a unit no database could hold, so that it would fail the whole group; empty: nothing."""
    for tenant, stream_id in unit.names:
        if not (is_storable(tenant) and is_storable(stream_id)):
            return f"the name {stream_id[:100]!r} of tenant {tenant[:100]!r}"
    if isinstance(unit, ChunksUnit):
        for chunk in unit.chunks:
            if not is_storable(chunk.step_id) or not 0 < chunk.attempt < _INTEGER_END:
                return f"attempt {chunk.attempt} of step {chunk.step_id[:100]!r}"
    elif isinstance(unit, PayloadUnit) and not is_storable(unit.tenant):
        return f"the tenant {unit.tenant[:100]!r}"
    elif isinstance(unit, DataKeyUnit) and not (is_storable(unit.key.key_id) and is_storable(unit.key.tenant or "-")):
        return f"the data key {unit.key.key_id[:100]!r}"
    return ""


Unit = AppendUnit | ChunksUnit | PayloadUnit | DataKeyUnit | SnapshotUnit | TreeUnit


def attempt_of(chunk: OutputChunk) -> AttemptKey:
    """The attempt that a chunk belongs to."""
    return chunk.tenant, chunk.workflow_id, chunk.step_id, chunk.attempt
