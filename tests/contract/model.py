"""The event store as a model: lists and dictionaries, no database, no thread, no chance.

It keeps the contract in the plainest way, so that the other stores can be compared with it, and it runs on a loop
with virtual time. Commits happen when the loop comes round, everything that was submitted until then in one group.
"""

import asyncio
import hashlib
from collections import defaultdict
from functools import partial

from store.contract import (
    ANY_VERSION,
    ChunkGapError,
    Committed,
    CursorAheadError,
    DatabaseInUseError,
    InvalidAppendError,
    OpenWorkflow,
    PayloadMissingError,
    RecordedChunk,
    RecordedEvent,
    StoreClosedError,
    StoreError,
    StreamConflictError,
    StreamMissingError,
    SubscriptionBatch,
)
from store.records import encode_record, type_number
from store.tenure import Tenure
from store.units import AppendUnit, ChunksUnit, DataKeyUnit, PayloadUnit, SnapshotUnit, unstorable_in


class ModelDatabase:
    """What outlives a store."""

    def __init__(self):
        self.events = []
        self.streams = defaultdict(list)
        self.sequences = defaultdict(int)
        self.open = {}
        self.chunks = []
        self.attempts = defaultdict(list)
        self.payloads = {}
        self.data_keys = {}
        self.snapshots = {}
        self.tiles = {}
        self.checkpoints = {}
        self.is_owned = False


class ModelStore:
    """An EventStore over a ModelDatabase."""

    def __init__(self, database, clock):
        self._db = database
        self._clock = clock
        self._queue = []
        self._is_open = False
        self._stamp_us = 0
        self._following = []

    @property
    def head(self):
        return len(self._db.events)

    @property
    def is_current(self):
        return self._is_open

    @property
    def tenure(self):
        return Tenure("model", 1, 0)

    async def open(self):
        if self._db.is_owned:
            raise DatabaseInUseError("the model is open already")
        self._db.is_owned = self._is_open = True
        self._stamp_us = self._db.events[-1].recorded_at_us if self._db.events else 0

    async def close(self):
        if self._is_open:
            self._is_open = self._db.is_owned = False
            self._commit()

    def submit(self, append, done):
        self._enqueue(partial(self._append, append), done)

    def expect(self, coming):
        """Nothing is waited for: the model has no groups."""

    async def append(self, append):
        return await self._submitted(partial(self._append, append))

    async def append_chunks(self, chunks):
        return await self._submitted(partial(self._append_chunks, chunks))

    async def write_payload(self, tenant, data):
        return await self._submitted(partial(self._write_payload, tenant, data))

    async def write_data_key(self, key):
        await self._submitted(partial(self._write_data_key, key))

    async def write_snapshot(self, snapshot):
        await self._submitted(partial(self._write_snapshot, snapshot))

    async def write_tree(self, tiles, checkpoint=None):
        await self._submitted(partial(self._write_tree, tiles, checkpoint))

    # The writer.

    async def _submitted(self, change):
        outcome = asyncio.get_running_loop().create_future()
        self._enqueue(change, lambda answer: outcome.cancelled() or outcome.set_result(answer))
        answer = await outcome
        if isinstance(answer, StoreError):
            raise answer
        return answer

    def _enqueue(self, change, done):
        if not self._is_open:
            asyncio.get_running_loop().call_soon(done, StoreClosedError("the store is closed"))
            return
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._commit)
        self._queue.append((change, done))

    def _commit(self):
        queue, self._queue = self._queue, []
        self._stamp_us = max(self._stamp_us, self._clock.now_us()) if queue else self._stamp_us
        for done, outcome in [(done, self._outcome(change)) for change, done in queue]:
            done(outcome)
        self._wake()

    def _outcome(self, change):
        try:
            return change()
        except StoreError as refusal:
            return refusal

    @staticmethod
    def _require_storable(unit):
        if what := unstorable_in(unit):
            raise InvalidAppendError(f"{what} cannot be stored")

    def _append(self, append):
        self._require_storable(AppendUnit(append, None))
        db = self._db
        first = self.head + 1
        recorded = []
        versions = {
            (part.tenant, part.stream_id): self._version(part.tenant, part.stream_id) for part in append.streams
        }
        sequences = dict(db.sequences)
        for part in append.streams:
            name = (part.tenant, part.stream_id)
            if part.expected_version not in (versions[name], ANY_VERSION):
                raise StreamConflictError(part.stream_id, part.expected_version, versions[name])
            for payload, envelope in part.events:
                versions[name] += 1
                sequences[part.tenant] = sequences.get(part.tenant, 0) + 1
                place = {
                    "position": first + len(recorded),
                    "tenant_sequence": sequences[part.tenant],
                    "stream_version": versions[name],
                    "recorded_at_us": self._stamp_us,
                }
                try:
                    record, number = encode_record(payload, envelope, **place), type_number(payload)
                except Exception as error:
                    raise InvalidAppendError(str(error)) from error
                recorded.append(
                    RecordedEvent(place["position"], *name, place["stream_version"], number, self._stamp_us, record)
                )
        for opened in append.opened:
            if not versions.get((opened.tenant, opened.stream_id), self._version(opened.tenant, opened.stream_id)):
                raise StreamMissingError(opened.stream_id)
            if opened.wake_at_us is not None and not 0 <= opened.wake_at_us < 2**63:
                raise InvalidAppendError(f"{opened.stream_id} cannot wake at {opened.wake_at_us}")
        db.sequences.update(sequences)
        db.events.extend(recorded)
        for event in recorded:
            db.streams[event.tenant, event.stream_id].append(event)
        for name in append.closed:
            db.open.pop(name, None)
        for opened in append.opened:
            since, _ = db.open.get((opened.tenant, opened.stream_id), ((self.head, self._first(opened)), None))
            db.open[opened.tenant, opened.stream_id] = since, opened.wake_at_us
        return Committed(first, self.head, recorded)

    def _append_chunks(self, chunks):
        self._require_storable(ChunksUnit(chunks, None, 0))
        added = defaultdict(list)
        answers = []
        for chunk in chunks:
            if not self._version(chunk.tenant, chunk.workflow_id):
                raise StreamMissingError(chunk.workflow_id)
            attempt = (chunk.tenant, chunk.workflow_id, chunk.step_id, chunk.attempt)
            stored = self._db.attempts[attempt] + added[attempt]
            if chunk.sequence > len(stored) + 1:
                raise ChunkGapError(chunk.step_id, chunk.attempt, len(stored) + 1, chunk.sequence)
            if chunk.sequence == len(stored) + 1:
                ordinal = len(self._db.chunks) + sum(map(len, added.values())) + 1
                place = (chunk.step_id, chunk.attempt, chunk.sequence)
                stored.append(RecordedChunk(ordinal, self.head, *place, chunk.data))
                added[attempt].append(stored[-1])
            answers.append(stored[chunk.sequence - 1])
        for attempt, recorded in added.items():
            self._db.attempts[attempt].extend(recorded)
            self._db.chunks.extend((attempt[:2], chunk) for chunk in recorded)
        self._db.chunks.sort(key=lambda entry: entry[1].ordinal)
        return answers

    def _write_payload(self, tenant, data):
        digest = hashlib.sha256(data).digest()
        self._require_storable(PayloadUnit(tenant, digest, data, None))
        self._db.payloads[tenant, digest] = data
        return digest

    def _write_data_key(self, key):
        self._require_storable(DataKeyUnit(key, None))
        stored = self._db.data_keys.get(key.key_id)
        if stored is None or stored.wrapped_key is not None:
            self._db.data_keys[key.key_id] = key

    def _write_snapshot(self, snapshot):
        self._require_storable(SnapshotUnit(snapshot, None))
        name = snapshot.tenant, snapshot.stream_id
        if not self._version(*name):
            raise StreamMissingError(snapshot.stream_id)
        stored = self._db.snapshots.get(name)
        if stored is None or stored.stream_version <= snapshot.stream_version:
            self._db.snapshots[name] = snapshot

    def _write_tree(self, tiles, checkpoint):
        for tile in tiles:
            self._db.tiles.setdefault(tile[:2], tile)
        if checkpoint is not None:
            self._db.checkpoints.setdefault(checkpoint.size, checkpoint)

    def _version(self, tenant, stream_id):
        return len(self._db.streams.get((tenant, stream_id), ()))

    def _first(self, workflow):
        return self._db.streams[workflow.tenant, workflow.stream_id][0].position

    # The reader.

    def _readable(self):
        if not self._is_open:
            raise StoreClosedError("the store is closed")
        return self._db

    async def read_stream(self, tenant, stream_id, after_version=0, limit=None):
        events = self._readable().streams.get((tenant, stream_id), [])[after_version:]
        return events if limit is None else events[:limit]

    async def read_all(self, after_position=0, limit=1000, tenant=None):
        events = self._readable().events[after_position:]
        return [event for event in events if tenant in (None, event.tenant)][:limit]

    async def read_chunks(self, tenant, workflow_id, after_ordinal=0, limit=256):
        found = [chunk for name, chunk in self._readable().chunks if name == (tenant, workflow_id)]
        return [chunk for chunk in found if chunk.ordinal > after_ordinal][:limit]

    async def read_attempt_chunks(self, tenant, workflow_id, step_id, attempt):
        return list(self._readable().attempts.get((tenant, workflow_id, step_id, attempt), ()))

    async def read_payload(self, tenant, digest):
        try:
            return self._readable().payloads[tenant, digest]
        except KeyError:
            raise PayloadMissingError(digest.hex()) from None

    async def read_data_keys(self):
        return [key for _, key in sorted(self._readable().data_keys.items())]

    async def read_snapshot(self, tenant, stream_id):
        return self._readable().snapshots.get((tenant, stream_id))

    async def read_tiles(self, level, first, count):
        tiles = self._readable().tiles
        return [tiles[level, index] for index in range(first, first + count) if (level, index) in tiles]

    async def read_checkpoints(self, after_size=0, limit=1000):
        return [kept for size, kept in sorted(self._readable().checkpoints.items()) if size > after_size][:limit]

    async def last_checkpoint(self):
        return max(self._readable().checkpoints.values(), default=None)

    async def open_workflows(self, due_by_us=None):
        entries = sorted(self._readable().open.items(), key=lambda entry: entry[1][0])
        listed = [OpenWorkflow(*name, wake_at_us) for name, (_, wake_at_us) in entries]
        return [each for each in listed if None in (due_by_us, each.wake_at_us) or each.wake_at_us <= due_by_us]

    async def list_streams(self, prefix):
        return sorted(
            name for name, events in self._readable().streams.items() if events and name[1].startswith(prefix)
        )

    # Subscriptions.

    async def subscribe(self, after_position=0, tenant=None):
        if after_position > self.head:
            raise CursorAheadError(f"{after_position} is beyond {self.head}")
        position, is_first = after_position, True
        while True:
            if not is_first and position == self.head:
                await self._next_commit()
            events = [event for event in self._readable().events[position:] if tenant in (None, event.tenant)]
            position, is_first = self.head, False
            yield SubscriptionBatch(events, position, caught_up=True)

    async def _next_commit(self):
        commit = asyncio.get_running_loop().create_future()
        self._following.append(commit)
        try:
            await commit
        finally:
            self._following.remove(commit)

    def _wake(self):
        for commit in self._following:
            if not commit.done():
                commit.set_result(None)
