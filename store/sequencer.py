"""The writer's memory of the shard: it gives every event its place and refuses what does not fit.

There is one writer, so what it remembers is the truth, ahead of the database by one group at most. When a group
fails, the whole memory is dropped with the store. A unit that is refused leaves nothing behind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from store.backend import AttemptName, Batch, ChunkRow, Cold, LookedUp, ShardState, StreamName
from store.contract import (
    ANY_VERSION,
    Append,
    ChunkGapError,
    Committed,
    InvalidAppendError,
    OutputChunk,
    RecordedChunk,
    RecordedEvent,
    Snapshot,
    StoreError,
    StreamConflictError,
    StreamMissingError,
)
from store.records import encode_head
from store.units import (
    AppendUnit,
    AttemptKey,
    ChunksUnit,
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
    answers: list[tuple[Callable[[Any], None], object]]
    """Each unit's `done`, and what it is called with."""


@dataclass(slots=True)
class _Tenant:
    key: int
    sequence: int
    is_stored: bool


@dataclass(slots=True)
class _Stream:
    key: int
    version: int  # 0: it does not exist, and the key is what it would get.
    tenant: _Tenant


_TIME_END_US = 2**63

# A named tuple's own constructor is a function of Python, which costs as much again.
_recorded = partial(tuple.__new__, RecordedEvent)


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
        streams = {name: None for unit in units for name in unit.names if name not in known}
        others = [unit for unit in units if not isinstance(unit, AppendUnit)]
        attempts = {
            attempt: None
            for unit in others
            if isinstance(unit, ChunksUnit)
            for attempt in map(attempt_of, unit.chunks)
            if attempt not in self._attempts
        }
        # A name that is known was looked up before, and so is fit to be stored.
        for unit in units if streams or attempts else others:
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
                remembered = _Stream(self._last_stream_key, 0, self._tenant(name.tenant))
            else:
                remembered = _Stream(stream.stream_key, stream.version, self._tenant(name.tenant))
            self._streams[name.tenant, name.stream_id] = remembered
        for attempt, sequence in zip(cold.attempts, found.attempts, strict=True):
            self._attempts[attempt[1:]] = sequence

    def sequence(self, units: Sequence[Unit], now_us: int) -> Group:
        """Put the units in order and encode them. A unit that does not fit is refused alone."""
        # One stamp a group, and never an earlier one, whatever the clock does.
        stamp = self._last_stamp_us = max(self._last_stamp_us, now_us)
        batch = Batch(self._head, self._head, self._last_ordinal, self._last_ordinal, stamp)
        group = Group(batch, [], [])
        answers = group.answers
        for unit in units:
            if isinstance(unit, AppendUnit):
                answers.append((unit.done, self._append(group, unit)))
            elif isinstance(unit, ChunksUnit):
                answers.append((unit.done, self._chunks(batch, unit.chunks)))
            elif isinstance(unit, PayloadUnit):
                answers.append((unit.done, self._payload(batch, unit)))
            elif isinstance(unit, SnapshotUnit):
                answers.append((unit.done, self._snapshot(batch, unit.snapshot)))
            elif isinstance(unit, TreeUnit):
                self._tree(batch, unit)
                answers.append((unit.done, unit.tiles))
            else:
                key = unit.key
                batch.data_keys.append((key.key_id, key.wrapped_key, key.destroyed_at_us, key.tenant or None))
                answers.append((unit.done, key))
        batch.new_head = self._head
        batch.last_ordinal = self._last_ordinal
        self._forget()
        return group

    def _forget(self) -> None:
        # What was looked up first goes first; if it is still in use, it costs a look-up more. Only between groups:
        # what a group names has to stay until it is sequenced.
        for cache in (self._streams, self._attempts):
            while len(cache) > self._cached_streams:
                cache.popitem(last=False)

    def _append(self, group: Group, unit: AppendUnit) -> Committed | StoreError:
        refusal = self._refusal(unit)
        if refusal is not None:
            return refusal
        batch, append = group.batch, unit.append
        rows, stamp = batch.events, batch.recorded_at_us
        before = position = self._head
        events: list[RecordedEvent] = []
        for (tenant_name, stream_id, _, _), rests in zip(append.streams, unit.rests, strict=True):
            if not rests:
                continue
            stream = self._streams[tenant_name, stream_id]
            stream_key, version, tenant = stream.key, stream.version, stream.tenant
            tenant_key, sequence = tenant.key, tenant.sequence
            if version == 0:
                self._store_tenant(batch, tenant_name, tenant)
                batch.streams.append((self._shard, stream_key, tenant_key, stream_id))
            for number, rest in rests:
                position += 1
                version += 1
                sequence += 1
                record = encode_head(position, sequence, version, stamp) + rest
                rows.append((position, stream_key, version, number, tenant_key, record))
                events.append(_recorded((position, tenant_name, stream_id, version, number, stamp, record)))
            stream.version, tenant.sequence = version, sequence
            batch.sequences[tenant_key] = sequence
        self._head = position
        if append.opened or append.closed:
            self._reopen(batch, append)
        group.events.extend(events)
        return Committed(before + 1, position, events)

    def _refusal(self, unit: AppendUnit) -> StoreError | None:
        """Why an append cannot be recorded; None: nothing speaks against it, and nothing in it can fail any more."""
        append = unit.append
        versions: dict[StreamKey, int] = {}
        for tenant, stream_id, expected, events in append.streams:
            name = (tenant, stream_id)
            version = versions[name] if name in versions else self._streams[name].version
            if expected not in (version, ANY_VERSION):
                return StreamConflictError(stream_id, expected, version)
            versions[name] = version + len(events)
        if unit.refusal is not None:
            return unit.refusal
        for tenant, stream_id, wake_at_us in append.opened:
            name = (tenant, stream_id)
            if not (versions.get(name) or self._streams[name].version):
                return StreamMissingError(stream_id)
            if wake_at_us is not None and not 0 <= wake_at_us < _TIME_END_US:
                return InvalidAppendError(f"{stream_id} cannot wake at {wake_at_us}")
        return None

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

    def _payload(self, batch: Batch, unit: PayloadUnit) -> bytes:
        tenant = self._tenant(unit.tenant)
        self._store_tenant(batch, unit.tenant, tenant)
        batch.payloads.append((self._shard, tenant.key, unit.digest, len(unit.data), batch.recorded_at_us, unit.data))
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
