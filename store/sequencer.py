"""The writer's memory of the shard: it gives every event its place and refuses what does not fit.

There is one writer, so what it remembers is the truth, ahead of the database by one group at most. When a group
fails, the whole memory is dropped with the store. A unit that is refused leaves nothing behind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from store.backend import AttemptName, Batch, ChunkRow, Cold, EventRow, LookedUp, ShardState, StreamName
from store.contract import (
    Append,
    ChunkGapError,
    Committed,
    InvalidAppendError,
    OutputChunk,
    RecordedChunk,
    RecordedEvent,
    Snapshot,
    StoreError,
    StreamAppend,
    StreamConflictError,
    StreamMissingError,
)
from store.records import encode_record, type_number
from store.units import (
    AppendUnit,
    AttemptKey,
    ChunksUnit,
    DataKeyUnit,
    PayloadUnit,
    SnapshotUnit,
    StreamKey,
    TreeUnit,
    Unit,
    attempt_of,
    unstorable_in,
)


@dataclass(slots=True)
class Group:
    """One group commit: what is written, and what is told after that, and to whom."""

    batch: Batch
    events: list[RecordedEvent]
    acknowledgements: list[Callable[[], None]]


@dataclass(slots=True)
class _Tenant:
    key: int
    sequence: int
    is_stored: bool


@dataclass(slots=True)
class _Stream:
    key: int
    version: int  # 0: it does not exist, and the key is what it would get.


_TIME_END_US = 2**63
_NAMES_NO_STREAM = (PayloadUnit, DataKeyUnit)

_Extended = tuple[_Stream, int, _Tenant, int, StreamAppend]
"""A stream and a tenant that got events, each with what it had before, and by what."""


class Sequencer:
    """Gives positions, versions, sequences, ordinals and keys. Synchronous, and the same for every database."""

    def __init__(self, state: ShardState, *, shard: int, cached_streams: int) -> None:
        self._shard = shard
        self._cached_streams = cached_streams
        self._head = state.head
        self._last_ordinal = state.last_ordinal
        self._last_stream_key = state.last_stream_key
        self._last_stamp_us = state.last_recorded_at_us
        self._last_tenant_key = max((tenant.tenant_key for tenant in state.tenants), default=0)
        self._tenants = {t.name: _Tenant(t.tenant_key, t.sequence, is_stored=True) for t in state.tenants}
        self._streams: OrderedDict[StreamKey, _Stream] = OrderedDict()
        self._attempts: OrderedDict[AttemptKey, int] = OrderedDict()

    def cold(self, units: Sequence[Unit]) -> Cold | None:
        """What must be looked up before these units can be sequenced; None: nothing.

        Raises InvalidAppendError when one of them holds what no database could: `unstorable_in` tells which.
        """
        known = self._streams
        streams = dict.fromkeys([name for unit in units for name in unit.streams() if name not in known])
        attempts = dict.fromkeys(
            attempt
            for unit in units
            if isinstance(unit, ChunksUnit)
            for attempt in map(attempt_of, unit.chunks)
            if attempt not in self._attempts
        )
        # A name that is known was looked up before, and so is fit to be stored.
        for unit in units if streams or attempts else [unit for unit in units if isinstance(unit, _NAMES_NO_STREAM)]:
            if what := unstorable_in(unit):
                raise InvalidAppendError(f"{what} cannot be stored")
        if not streams and not attempts:
            return None
        return Cold(
            [StreamName(self._tenant(tenant).key, tenant, stream_id) for tenant, stream_id in streams],
            [AttemptName(self._tenant(attempt[0]).key, *attempt) for attempt in attempts],
        )

    def learn(self, cold: Cold, found: LookedUp) -> None:
        """Remember what was looked up."""
        for name, stream in zip(cold.streams, found.streams, strict=True):
            if stream is None:
                # A key that is never used leaves a gap, which costs nothing.
                self._last_stream_key += 1
                remembered = _Stream(self._last_stream_key, 0)
            else:
                remembered = _Stream(stream.stream_key, stream.version)
            self._streams[name.tenant, name.stream_id] = remembered
        for attempt, sequence in zip(cold.attempts, found.attempts, strict=True):
            self._attempts[attempt[1:]] = sequence

    def sequence(self, units: Sequence[Unit], now_us: int) -> Group:
        """Put the units in order and encode them. A unit that does not fit is refused alone."""
        # One stamp a group, and never an earlier one, whatever the clock does.
        stamp = self._last_stamp_us = max(self._last_stamp_us, now_us)
        group = Group(Batch(self._head, self._head, self._last_ordinal, self._last_ordinal), [], [])
        tell = group.acknowledgements.append
        for unit in units:
            if isinstance(unit, AppendUnit):
                tell(partial(unit.done, self._append(group, unit.append, stamp)))
            elif isinstance(unit, ChunksUnit):
                tell(partial(unit.done, self._chunks(group.batch, unit.chunks)))
            elif isinstance(unit, PayloadUnit):
                tell(partial(unit.done, self._payload(group.batch, unit, stamp)))
            elif isinstance(unit, SnapshotUnit):
                tell(partial(unit.done, self._snapshot(group.batch, unit.snapshot)))
            elif isinstance(unit, TreeUnit):
                self._tree(group.batch, unit)
                tell(partial(unit.done, unit.tiles))
            else:
                key = unit.key
                group.batch.data_keys.append((key.key_id, key.wrapped_key, key.destroyed_at_us, key.tenant or None))
                tell(partial(unit.done, key))
        group.batch.new_head = self._head
        group.batch.last_ordinal = self._last_ordinal
        self._forget()
        return group

    def _forget(self) -> None:
        # Only between groups: what a group names has to stay until it is sequenced.
        for cache in (self._streams, self._attempts):
            while len(cache) > self._cached_streams:
                cache.popitem(last=False)

    def _append(self, group: Group, append: Append, stamp: int) -> Committed | StoreError:
        batch = group.batch
        first, mark = self._head + 1, len(batch.events)
        events: list[RecordedEvent] = []
        extended: list[_Extended] = []
        try:
            for part in append.streams:
                self._extend(batch.events, events, extended, part, stamp)
            for opened in append.opened:
                if self._streams[opened.tenant, opened.stream_id].version == 0:
                    raise StreamMissingError(opened.stream_id)
                if opened.wake_at_us is not None and not 0 <= opened.wake_at_us < _TIME_END_US:
                    raise InvalidAppendError(f"{opened.stream_id} cannot wake at {opened.wake_at_us}")
        except StoreError as refusal:
            for stream, version, tenant, sequence, _ in reversed(extended):
                stream.version, tenant.sequence = version, sequence
            del batch.events[mark:]
            self._head = first - 1
            return refusal
        for stream, version, tenant, _, part in extended:
            if version == 0 and part.events:
                self._store_tenant(batch, part.tenant, tenant)
                batch.streams.append((self._shard, stream.key, tenant.key, part.stream_id))
            batch.sequences[tenant.key] = tenant.sequence
        if append.opened or append.closed:
            self._reopen(batch, append)
        group.events.extend(events)
        return Committed(first, self._head, events)

    def _extend(
        self,
        rows: list[EventRow],
        events: list[RecordedEvent],
        extended: list[_Extended],
        part: StreamAppend,
        stamp: int,
    ) -> None:
        """Put a stream's new events at the end of the log, or raise halfway; `extended` tells what to take back."""
        tenant_name, stream_id = name = (part.tenant, part.stream_id)
        stream, tenant = self._streams[name], self._tenant(tenant_name)
        self._streams.move_to_end(name)
        version, sequence, position = stream.version, tenant.sequence, self._head
        if version != part.expected_version:
            raise StreamConflictError(stream_id, part.expected_version, version)
        extended.append((stream, version, tenant, sequence, part))
        shard, stream_key, tenant_key = self._shard, stream.key, tenant.key
        try:
            for payload, envelope in part.events:
                position += 1
                version += 1
                sequence += 1
                record = encode_record(
                    payload,
                    envelope,
                    position=position,
                    tenant_sequence=sequence,
                    stream_version=version,
                    recorded_at_us=stamp,
                )
                number = type_number(payload)
                rows.append((shard, position, stream_key, version, number, stamp, tenant_key, record))
                events.append(RecordedEvent(position, tenant_name, stream_id, version, number, stamp, record))
        except Exception as error:
            # Whatever is wrong with one event is no reason to stop the shard for all.
            raise InvalidAppendError(f"an event of stream {stream_id} cannot be encoded: {error!r}") from error
        stream.version, tenant.sequence, self._head = version, sequence, position

    def _reopen(self, batch: Batch, append: Append) -> None:
        for closed in append.closed:
            stream_key = self._streams[closed].key
            batch.opened.pop(stream_key, None)
            batch.closed.add(stream_key)
        for opened in append.opened:
            stream_key = self._streams[opened.tenant, opened.stream_id].key
            since, _ = batch.opened.get(stream_key, (self._head, None))
            batch.opened[stream_key] = (since, opened.wake_at_us)

    def _chunks(self, batch: Batch, chunks: Sequence[OutputChunk]) -> list[RecordedChunk | None] | StoreError:
        ordinal = self._last_ordinal
        last: dict[AttemptKey, int] = {}
        rows: list[ChunkRow] = []
        recorded: list[RecordedChunk | None] = []
        for chunk in chunks:
            name = (chunk.tenant, chunk.workflow_id)
            attempt = attempt_of(chunk)
            stream = self._streams[name]
            self._streams.move_to_end(name)
            self._attempts.move_to_end(attempt)
            sequence = last.get(attempt, self._attempts[attempt])
            if stream.version == 0:
                return StreamMissingError(chunk.workflow_id)
            if chunk.sequence > sequence + 1:
                return ChunkGapError(chunk.step_id, chunk.attempt, sequence + 1, chunk.sequence)
            if chunk.sequence <= sequence:
                recorded.append(None)
                continue
            ordinal += 1
            last[attempt] = chunk.sequence
            place = (chunk.step_id, chunk.attempt, chunk.sequence)
            rows.append((self._shard, ordinal, stream.key, *place, self._head, chunk.data))
            recorded.append(RecordedChunk(ordinal, self._head, *place, chunk.data))
        self._last_ordinal = ordinal
        self._attempts.update(last)
        batch.chunks.extend(rows)
        return recorded

    def _payload(self, batch: Batch, unit: PayloadUnit, stamp: int) -> bytes:
        tenant = self._tenant(unit.tenant)
        self._store_tenant(batch, unit.tenant, tenant)
        batch.payloads.append((self._shard, tenant.key, unit.digest, len(unit.data), stamp, unit.data))
        return unit.digest

    def _snapshot(self, batch: Batch, snapshot: Snapshot) -> Snapshot | StoreError:
        stream = self._streams[snapshot.tenant, snapshot.stream_id]
        if stream.version == 0:
            return StreamMissingError(snapshot.stream_id)
        row = (self._shard, stream.key, snapshot.stream_version, snapshot.state_schema, snapshot.data)
        batch.snapshots.append(row)
        return snapshot

    def _tree(self, batch: Batch, unit: TreeUnit) -> None:
        batch.tiles.extend([(self._shard, *tile) for tile in unit.tiles])
        if unit.checkpoint is not None:
            batch.checkpoints.append((self._shard, *unit.checkpoint))

    def _tenant(self, name: str) -> _Tenant:
        tenant = self._tenants.get(name)
        if tenant is None:
            self._last_tenant_key += 1
            tenant = self._tenants[name] = _Tenant(self._last_tenant_key, 0, is_stored=False)
        return tenant

    def _store_tenant(self, batch: Batch, name: str, tenant: _Tenant) -> None:
        if not tenant.is_stored:
            tenant.is_stored = True
            batch.tenants[tenant.key] = name
