"""The event store over any backend: the writer, the reader and the subscriptions, as one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from store.backend import Backend, OnPoint
from store.contract import (
    SHARD,
    Append,
    Clock,
    Committed,
    DataKey,
    EventReader,
    OnCommitted,
    OpenWorkflow,
    OutputChunk,
    OwnershipLostError,
    RecordedChunk,
    RecordedEvent,
    SignedCheckpoint,
    Snapshot,
    StoreClosedError,
    StoreError,
    Tile,
)
from store.limits import StoreLimits
from store.sequencer import Sequencer
from store.subscription import Subscription, Tail
from store.tenure import Tenure
from store.units import (
    AppendUnit,
    AttemptKey,
    ChunksUnit,
    DataKeyUnit,
    PayloadUnit,
    SnapshotUnit,
    TreeUnit,
    attempt_of,
)
from store.writer import GroupCommitWriter

T = TypeVar("T")

_LONG_DIGEST_BYTES = 256 << 10


class BackendReader(EventReader, Protocol):
    """The reader of a backend, which is opened and closed with it."""

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect. Harmless when it is not open."""


class EventLog:
    """An EventStore. After `close`, or a failure and `close`, it can be opened again."""

    writer_class: type[GroupCommitWriter] = GroupCommitWriter

    def __init__(
        self,
        backend: Backend,
        reader: BackendReader,
        *,
        clock: Clock,
        limits: StoreLimits,
        shard: int = SHARD,
        on_point: OnPoint | None = None,
    ) -> None:
        self._backend = backend
        self._reader = reader
        self._clock = clock
        self._limits = limits
        self._shard = shard
        self._on_point = on_point
        self._tail = Tail(0)
        self._writer: GroupCommitWriter | None = None
        self._failed: asyncio.Future[StoreError] | None = None
        self._epoch = 0

    @property
    def head(self) -> int:
        """The position of the last committed event; 0: none."""
        return self._tail.head

    @property
    def epoch(self) -> int:
        """Under which epoch this process took the shard; each opening has a higher one. 0: it was never opened."""
        return self._epoch

    @property
    def is_current(self) -> bool:
        """Whether this process owns the shard beyond doubt; see EventStore."""
        return self._failed is not None and not self._failed.done() and self._backend.is_current

    @property
    def tenure(self) -> Tenure:
        """By which right this process writes; see EventStore."""
        left_s = self._backend.lease_left_s
        ends_at_us = 0 if left_s is None else self._clock.now_us() + round(left_s * 1e6)
        return Tenure(self._backend.owner, self._epoch, ends_at_us)

    @property
    def fill(self) -> float:
        """How full the queue of the writer is, 0 to 1; see EventStore."""
        return 0.0 if self._writer is None else self._writer.fill

    async def open(self) -> None:
        """Take ownership of the shard and start the writer; see EventStore."""
        if self._writer is not None:
            raise StoreError("the store is open")
        self._failed = asyncio.get_running_loop().create_future()
        state = await self._backend.open(self._lost)
        self._epoch = state.epoch
        try:
            await self._reader.open()
        except BaseException:
            await self._backend.close()
            raise
        self._tail = Tail(state.head)
        sequencer = Sequencer(state, shard=self._shard, cached_streams=self._limits.cached_streams)
        self._writer = self.writer_class(
            self._backend, sequencer, self._clock, self._limits, self._tail.publish, self._fail, self._on_point
        )

    async def close(self) -> None:
        """Commit what was submitted, then let go of the shard. Subscriptions end with StoreClosedError."""
        writer = self._writer
        if writer is None:
            return
        await writer.stop()
        self._writer = None
        self._tail.close()
        await self._reader.close()
        await self._backend.close()

    async def failed(self) -> StoreError:
        """Wait until the store fails, and return why. What is to be done then is to close it and to open it again."""
        if self._failed is None:
            raise StoreClosedError("the store is not open")
        return await asyncio.shield(self._failed)

    def submit(self, append: Append, done: OnCommitted) -> None:
        """Queue an append; see EventStore."""
        if self._writer is None:
            asyncio.get_running_loop().call_soon(done, StoreClosedError("the store is not open"))
        else:
            self._writer.submit(AppendUnit(append, done))

    def expect(self, coming: Callable[[], int]) -> None:
        """Be told how many appends are likely; see EventStore. Holds until the log is closed."""
        self._open_writer().coming = coming

    @property
    def waiting_appends(self) -> int:
        """How many units wait for the writer."""
        return self._writer.waiting if self._writer is not None else 0

    def measure(self, on_commit: Callable[[int, float], None]) -> None:
        """Be told of every group commit how many events it recorded, and how many seconds the database took.

        Holds until the log is closed.
        """
        self._open_writer().measured = on_commit

    async def append(self, append: Append) -> Committed:
        """Submit and wait; see EventStore."""
        outcome: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._open_writer().submit(AppendUnit(append, partial(_settle, outcome)))
        return await outcome

    async def append_chunks(self, chunks: Sequence[OutputChunk]) -> list[RecordedChunk]:
        """Make chunks durable; see EventStore."""
        outcome: asyncio.Future[list[RecordedChunk | None]] = asyncio.get_running_loop().create_future()
        data_bytes = sum([len(chunk.data) for chunk in chunks])
        self._open_writer().submit(ChunksUnit(chunks, partial(_settle, outcome), data_bytes))
        return await self._with_duplicates(chunks, await outcome)

    async def write_payload(self, tenant: str, data: bytes) -> bytes:
        """Make a payload durable and return its digest; see EventStore."""
        if len(data) < _LONG_DIGEST_BYTES:
            digest = hashlib.sha256(data).digest()
        else:
            digest = (await asyncio.to_thread(hashlib.sha256, data)).digest()
        outcome: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._open_writer().submit(PayloadUnit(tenant, digest, data, partial(_settle, outcome)))
        return await outcome

    async def write_data_key(self, key: DataKey) -> None:
        """Make a data key durable; see EventStore."""
        outcome: asyncio.Future[DataKey] = asyncio.get_running_loop().create_future()
        self._open_writer().submit(DataKeyUnit(key, partial(_settle, outcome)))
        await outcome

    async def write_snapshot(self, snapshot: Snapshot) -> None:
        """Make a snapshot durable; see EventStore."""
        outcome: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._open_writer().submit(SnapshotUnit(snapshot, partial(_settle, outcome)))
        await outcome

    async def write_tree(self, tiles: Sequence[Tile], checkpoint: SignedCheckpoint | None = None) -> None:
        """Make tiles and a checkpoint durable; see EventStore."""
        outcome: asyncio.Future[Sequence[Tile]] = asyncio.get_running_loop().create_future()
        self._open_writer().submit(TreeUnit(tiles, checkpoint, partial(_settle, outcome)))
        await outcome

    def subscribe(self, after_position: int = 0, tenant: str | None = None) -> Subscription:
        """Follow the log; see EventStore."""
        return Subscription(self._reader, self._tail, after_position, tenant)

    async def read_stream(
        self, tenant: str, stream_id: str, after_version: int = 0, limit: int | None = None
    ) -> list[RecordedEvent]:
        """Read a stream; see EventReader."""
        return await self._open_reader().read_stream(tenant, stream_id, after_version, limit)

    async def read_all(
        self, after_position: int = 0, limit: int = 1000, tenant: str | None = None
    ) -> list[RecordedEvent]:
        """Read the log; see EventReader."""
        return await self._open_reader().read_all(after_position, limit, tenant)

    async def read_chunks(
        self, tenant: str, workflow_id: str, after_ordinal: int = 0, limit: int = 256
    ) -> list[RecordedChunk]:
        """Read a workflow's streamed output; see EventReader."""
        return await self._open_reader().read_chunks(tenant, workflow_id, after_ordinal, limit)

    async def read_attempt_chunks(
        self, tenant: str, workflow_id: str, step_id: str, attempt: int
    ) -> list[RecordedChunk]:
        """Read all chunks of an attempt; see EventReader."""
        return await self._open_reader().read_attempt_chunks(tenant, workflow_id, step_id, attempt)

    async def read_payload(self, tenant: str, digest: bytes) -> bytes:
        """Read a payload; see EventReader."""
        return await self._open_reader().read_payload(tenant, digest)

    async def read_data_keys(self) -> list[DataKey]:
        """Read all data keys; see EventReader."""
        return await self._open_reader().read_data_keys()

    async def read_snapshot(self, tenant: str, stream_id: str) -> Snapshot | None:
        """Read a stream's snapshot; see EventReader."""
        return await self._open_reader().read_snapshot(tenant, stream_id)

    async def read_tiles(self, level: int, first: int, count: int) -> list[Tile]:
        """Read tiles of the Merkle tree; see EventReader."""
        return await self._open_reader().read_tiles(level, first, count)

    async def read_checkpoints(self, after_size: int = 0, limit: int = 1000) -> list[SignedCheckpoint]:
        """Read signed checkpoints; see EventReader."""
        return await self._open_reader().read_checkpoints(after_size, limit)

    async def last_checkpoint(self) -> SignedCheckpoint | None:
        """Read the newest checkpoint; see EventReader."""
        return await self._open_reader().last_checkpoint()

    async def open_workflows(self, due_by_us: int | None = None) -> list[OpenWorkflow]:
        """List the workflows that have not ended; see EventReader."""
        return await self._open_reader().open_workflows(due_by_us)

    async def list_streams(self, prefix: str) -> list[tuple[str, str]]:
        """List the streams whose id begins with a prefix; see EventReader."""
        return await self._open_reader().list_streams(prefix)

    def _open_writer(self) -> GroupCommitWriter:
        if self._writer is None:
            raise StoreClosedError("the store is not open")
        return self._writer

    def _open_reader(self) -> EventReader:
        # What a store that failed would answer may be behind or ahead of what it acknowledged.
        if self._failed is not None and self._failed.done():
            raise StoreClosedError(f"the store has failed: {self._failed.result()}")
        if self._writer is None:
            raise StoreClosedError("the store is not open")
        return self._reader

    def _lost(self, reason: OwnershipLostError) -> None:
        if self._writer is not None:
            self._writer.end(reason)
        self._fail(reason)

    def _fail(self, reason: StoreError) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(reason)
        self._tail.close()

    async def _with_duplicates(
        self, chunks: Sequence[OutputChunk], recorded: Sequence[RecordedChunk | None]
    ) -> list[RecordedChunk]:
        """Fill the places of those chunks that were durable before."""
        stored: dict[AttemptKey, list[RecordedChunk]] = {}
        answers: list[RecordedChunk] = []
        for chunk, answer in zip(chunks, recorded, strict=True):
            if answer is None:
                attempt = attempt_of(chunk)
                if attempt not in stored:
                    stored[attempt] = await self.read_attempt_chunks(*attempt)
                # An attempt's chunks have no gaps: the place tells the sequence.
                answers.append(stored[attempt][chunk.sequence - 1])
            else:
                answers.append(answer)
        return answers


def _settle(waiting: asyncio.Future[T], outcome: T | StoreError) -> None:
    # Whoever waited may have been cancelled; what was submitted is durable all the same.
    if waiting.cancelled():
        return
    if isinstance(outcome, StoreError):
        waiting.set_exception(outcome)
    else:
        waiting.set_result(outcome)
