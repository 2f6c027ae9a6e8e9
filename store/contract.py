"""The contract of the event store: what a backend promises and the data that crosses the line.

Invariants every backend keeps: positions are gapless and in commit order; a stream's versions and a tenant's
sequences are gapless; what was acknowledged is durable; an append is all or nothing; a record is never changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from google.protobuf.message import Message

from store.tenure import Tenure

SHARD = 0
"""The one shard of this release."""


class StoreError(Exception):
    """Something the store refused or could not do. `reason` is stable, in upper snake case."""

    reason = "STORE_ERROR"


class StreamConflictError(StoreError):
    """A stream is not at the version the append expected. Nothing of the append was recorded."""

    reason = "STREAM_CONFLICT"

    def __init__(self, stream_id: str, expected: int, actual: int) -> None:
        super().__init__(f"stream {stream_id} is at version {actual}, the append expected {expected}")
        self.stream_id = stream_id
        self.expected = expected
        self.actual = actual


class OwnershipLostError(StoreError):
    """Another process owns the shard now. Nothing was recorded, and nothing more can be."""

    reason = "OWNERSHIP_LOST"


class OutcomeUnknownError(StoreError):
    """The database went away during a commit, which is whole or not at all: who opens the store next finds out."""

    reason = "OUTCOME_UNKNOWN"


class DatabaseInUseError(StoreError):
    """Another server holds the database."""

    reason = "DATABASE_IN_USE"


class StoreClosedError(StoreError):
    """The store is closed, or failed and must be opened again."""

    reason = "STORE_CLOSED"


class QueueFullError(StoreError):
    """More is waiting for the writer than it may hold. Nothing was recorded; try again later."""

    reason = "QUEUE_FULL"


class InvalidAppendError(StoreError):
    """It holds something that is no event, or that no database can hold. A programming error of the caller's.

    Nothing was recorded.
    """

    reason = "INVALID_APPEND"


class StreamMissingError(StoreError):
    """Something was to be attached to a stream that does not exist. Nothing was recorded."""

    reason = "STREAM_MISSING"

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"there is no stream {stream_id}")
        self.stream_id = stream_id


class ChunkGapError(StoreError):
    """A chunk came before the ones that precede it. Nothing was recorded."""

    reason = "CHUNK_GAP"

    def __init__(self, step_id: str, attempt: int, expected: int, actual: int) -> None:
        super().__init__(f"attempt {attempt} of {step_id} needs chunk {expected} next, not {actual}")
        self.expected = expected
        self.actual = actual


class CursorAheadError(StoreError):
    """A position lies beyond the log: it is from another log, or this one was restored from an older copy."""

    reason = "CURSOR_AHEAD"


class PayloadMissingError(StoreError):
    """No payload with this digest is stored for the tenant."""

    reason = "PAYLOAD_MISSING"


class CorruptLogError(StoreError):
    """What was read is not what was written: a gap, or a record that contradicts its columns."""

    reason = "CORRUPT_LOG"


ANY_VERSION = -1
"""Expected of a stream that is a record of what happened: the events follow whatever is there."""


class NewEvent(NamedTuple):
    """An event that is decided but not yet recorded."""

    payload: Message
    """The payload, one of the messages in the oneof of podium.v1.Event. Never mutated after this."""
    envelope: bytes
    """What is constant in its envelope, from `store.records.encode_envelope`."""


class StreamAppend(NamedTuple):
    """The events an append adds to one stream."""

    tenant: str
    stream_id: str
    expected_version: int
    """The version of the last event the decision saw; 0: the stream must not exist; ANY_VERSION: whatever it is."""
    events: Sequence[NewEvent]


class OpenWorkflow(NamedTuple):
    """A workflow that has not ended, and when it must be looked at."""

    tenant: str
    stream_id: str
    wake_at_us: int | None = None
    """When it wakes, microseconds since the Unix epoch; None: it is not parked, recovery folds it."""


class Append(NamedTuple):
    """What one append makes durable, all or nothing. Every stream is in the same shard."""

    streams: Sequence[StreamAppend]
    opened: Sequence[OpenWorkflow] = ()
    """Entries to write (or overwrite) in the table of open workflows."""
    closed: Sequence[tuple[str, str]] = ()
    """(tenant, stream_id) to remove from it."""


class RecordedEvent(NamedTuple):
    """An event as it stands in the log. `record` is a serialised podium.v1.Event, byte for byte as stored."""

    position: int
    tenant: str
    stream_id: str
    stream_version: int
    type: int
    recorded_at_us: int
    record: bytes


class Committed(NamedTuple):
    """The durable outcome of an append."""

    first_position: int
    last_position: int
    """The position of the last event; without events, one less than `first_position`."""
    events: Sequence[RecordedEvent]
    """In the order of the append: stream by stream, event by event."""


@dataclass(frozen=True, slots=True)
class OutputChunk:
    """A piece of an attempt's streamed output, to be made durable."""

    tenant: str
    workflow_id: str
    step_id: str
    attempt: int
    sequence: int
    """From 1, without gaps in the attempt."""
    data: bytes


class RecordedChunk(NamedTuple):
    """A durable piece of streamed output."""

    ordinal: int
    """Its place among all chunks of the shard, ascending in commit order, from 1."""
    position: int
    """The log's head when it became durable: orders chunks against events."""
    step_id: str
    attempt: int
    sequence: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SubscriptionBatch:
    """Events in order, and how far the subscription has come; the events may be empty."""

    events: Sequence[RecordedEvent]
    position: int
    """Everything up to here that matches has been delivered."""
    caught_up: bool
    """Whether the head was reached with this batch."""


class DataKey(NamedTuple):
    """A key that sealed values are named with, as it is stored: wrapped by a key that is not in the database."""

    key_id: str
    wrapped_key: bytes | None
    """None: it was destroyed, and everything it sealed is erased."""
    destroyed_at_us: int | None = None
    tenant: str = ""
    """Whose key it is; empty: not recorded, it was made before that was."""


class Tile(NamedTuple):
    """A full tile of the Merkle tree over the log: the 256 hashes of a level from 256 * tile_index on."""

    level: int
    """0: over the hashes of the records; each level is over the roots of 256 of the one below."""
    tile_index: int
    hashes: bytes


class SignedCheckpoint(NamedTuple):
    """What the log's owner signed: so many events, with this root."""

    size: int
    """The position of the last event it covers."""
    root: bytes
    note: str
    """The signed note, as it is published."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream's state at a version, so that loading it needs no fold of what came before. A cache."""

    tenant: str
    stream_id: str
    stream_version: int
    state_schema: bytes
    """Names the fold that made it; a snapshot of another fold is of no use."""
    data: bytes


OnCommitted = Callable[[Committed | StoreError], None]
"""Called once on the event loop, after the commit or the refusal. Must not raise and must not block."""


class Clock(Protocol):
    """The store's time."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""


class EventReader(Protocol):
    """The read side of the log. Sees only what has committed."""

    async def read_stream(
        self, tenant: str, stream_id: str, after_version: int = 0, limit: int | None = None
    ) -> list[RecordedEvent]:
        """Read a stream in order of version. An unknown stream is empty. A gap raises CorruptLogError."""

    async def read_all(
        self, after_position: int = 0, limit: int = 1000, tenant: str | None = None
    ) -> list[RecordedEvent]:
        """Read the log in order of position, at most `limit` events, of one tenant or of all."""

    async def read_chunks(
        self, tenant: str, workflow_id: str, after_ordinal: int = 0, limit: int = 256
    ) -> list[RecordedChunk]:
        """Read a workflow's streamed output in order of ordinal."""

    async def read_attempt_chunks(
        self, tenant: str, workflow_id: str, step_id: str, attempt: int
    ) -> list[RecordedChunk]:
        """Read all durable chunks of one attempt in order of sequence."""

    async def read_payload(self, tenant: str, digest: bytes) -> bytes:
        """Read a payload. Raises PayloadMissingError."""

    async def read_data_keys(self) -> list[DataKey]:
        """Read all data keys, in the order of their ids."""

    async def read_snapshot(self, tenant: str, stream_id: str) -> Snapshot | None:
        """Read the newest snapshot of a stream."""

    async def read_tiles(self, level: int, first: int, count: int) -> list[Tile]:
        """Read those of `count` tiles of a level from tile_index `first` on that exist, in order."""

    async def read_checkpoints(self, after_size: int = 0, limit: int = 1000) -> list[SignedCheckpoint]:
        """Read signed checkpoints in order of size."""

    async def last_checkpoint(self) -> SignedCheckpoint | None:
        """Read the checkpoint of the largest size."""

    async def open_workflows(self, due_by_us: int | None = None) -> list[OpenWorkflow]:
        """List the workflows that have not ended, in the order of the appends that opened them.

        With `due_by_us`, only those that are not parked, or wake by that time.
        """

    async def list_streams(self, prefix: str) -> list[tuple[str, str]]:
        """List (tenant, stream_id) of the streams whose id begins with a prefix, by tenant and id."""


class EventStore(EventReader, Protocol):
    """One shard of the log, owned by this process from `open` to `close`."""

    @property
    def head(self) -> int:
        """The position of the last committed event; 0: none."""

    @property
    def is_current(self) -> bool:
        """Whether what this process knows may be shown as the truth of the moment: it owns the shard beyond doubt."""

    @property
    def tenure(self) -> Tenure:
        """By which right this process writes. Of one that does not any more: by which it did."""

    @property
    def fill(self) -> float:
        """How full the queue of the writer is: 0 empty, 1 full, and then appends are refused."""

    async def open(self) -> None:
        """Take ownership: from a process that has it, or else raise DatabaseInUseError. Starts the writer."""

    async def close(self) -> None:
        """Commit what was submitted, then let go of the shard."""

    async def failed(self) -> StoreError:
        """Wait until the log cannot be written any more, and say why. Whoever owns the process then ends it."""

    def submit(self, append: Append, done: OnCommitted) -> None:
        """Queue an append for the next group commit. No cancelled request can take it back.

        Conflicting appends are refused alone, in order; the others of the group commit together.
        """

    def expect(self, coming: Callable[[], int]) -> None:
        """Be told how many appends are likely within a moment, those queued among them: a group commit may wait."""

    async def append(self, append: Append) -> Committed:
        """Submit and wait. Raises StreamConflictError, OwnershipLostError or StoreClosedError."""

    async def append_chunks(self, chunks: Sequence[OutputChunk]) -> list[RecordedChunk]:
        """Make chunks durable, in the writer's order with the appends. A chunk that exists is left as it is.

        All or nothing. Raises ChunkGapError, or StreamMissingError when the workflow is not recorded.
        """

    async def write_payload(self, tenant: str, data: bytes) -> bytes:
        """Make a payload durable and return its SHA-256 digest. Writing the same bytes again changes nothing."""

    async def write_data_key(self, key: DataKey) -> None:
        """Make a data key durable, in place of what was stored under its id. One that was destroyed stays so."""

    async def write_snapshot(self, snapshot: Snapshot) -> None:
        """Make a snapshot durable in place of the stream's last one. One that is older than that changes nothing.

        Raises StreamMissingError when the stream is not recorded.
        """

    async def write_tree(self, tiles: Sequence[Tile], checkpoint: SignedCheckpoint | None = None) -> None:
        """Make tiles and perhaps a checkpoint durable, together. What exists already is left as it is."""

    def subscribe(self, after_position: int = 0, tenant: str | None = None) -> AsyncIterator[SubscriptionBatch]:
        """Deliver every event after a position once and in order: first what is stored, then what commits.

        The first batch comes at once, empty if need be. Raises CursorAheadError for a position beyond the log, and
        StoreClosedError when the store closes. With a tenant, empty batches tell the position from time to time.
        """
