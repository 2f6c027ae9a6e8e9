"""Makes large logs quickly: real histories, written again and again under new ids, through the store's own backends.

The rows and the record bytes are what the service would have written; only the deciding is left out. The Merkle tree
is built and signed as the checkpointer does it. The read models begin at the log's end: their rows are not made.
"""

import asyncio
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import Message

from service.main import open_signer, projections_database
from service.projections import checkpoints
from service.projections.audit import AuditTrail
from service.projections.workflows import WorkflowList
from store.backend import Batch
from store.checkpoints import Signer
from store.contract import SHARD, RecordedEvent
from store.merkle import leaf_hash
from store.migrate import migrate
from store.postgres import PostgresBackend
from store.postgres_engine import is_postgres
from store.records import decode_record, encode_envelope, encode_record, known_payload, type_number
from store.sqlite import SqliteBackend
from store.sqlite_engine import path_of
from store.tiles import GrowingTree
from tests.benchmarks.served import settings_of

TENANT = "default"
COMMIT_EVENTS = 8_192
"""Events in a commit: large enough that flushes cost nothing, small enough for a statement's time limit."""


class _Event(NamedTuple):
    payload: Message
    envelope: bytes
    """With the id of the stream it was recorded in."""
    type: int


class History:
    """What a real service recorded of one workflow, to be written again under other ids of the same length."""

    def __init__(self, recorded: Sequence[RecordedEvent]) -> None:
        self._stream_id = recorded[0].stream_id.encode()
        self.events = [self._event(decode_record(event.record)) for event in recorded]

    def _event(self, event):
        envelope = encode_envelope(
            shard=event.shard,
            tenant=event.tenant,
            stream_id=event.stream_id,
            principal=event.principal if event.HasField("principal") else None,
            correlation_id=event.correlation_id,
            causation_position=event.causation_position,
            trace_context=event.trace_context,
            request_id=event.request_id,
        )
        payload = known_payload(event)
        return _Event(payload, envelope, type_number(payload))

    def under(self, number):
        """The id of the stream with a number, and the events with the envelopes they have in it."""
        stream_id = b"wf_%0*d" % (len(self._stream_id) - 3, number)
        renamed = {each.envelope: each.envelope.replace(self._stream_id, stream_id) for each in self.events}
        return stream_id.decode(), [(each.payload, renamed[each.envelope], each.type) for each in self.events]


class Bulk(NamedTuple):
    """So many workflows with one history."""

    history: History
    workflows: int
    is_open: bool = False
    wake_at_us: int | None = None
    """Of an open workflow: when it wakes, being parked; None: it is not parked."""


class Written(NamedTuple):
    """What was written."""

    head: int
    record_bytes: int
    """Of all records together."""
    last_stream_id: str


@dataclass
class _Log:
    """Where the log that is written ends."""

    signer: Signer
    recorded_at_us: int
    head: int = 0
    streams: int = 0
    tree: GrowingTree = field(default_factory=GrowingTree)
    last_record: bytes = b""
    last_stream_id: str = ""
    record_bytes: int = 0

    def batch(self, workflows):
        """A batch with all events of some workflows, and a checkpoint over the log with them."""
        is_first = self.head == 0
        batch = Batch(self.head, self.head, 0, 0)
        for bulk in workflows:
            self.streams += 1
            self.last_stream_id, events = bulk.history.under(self.streams)
            batch.streams.append((SHARD, self.streams, 1, self.last_stream_id))
            for version, (payload, envelope, kind) in enumerate(events, 1):
                self._append(batch, version, payload, envelope, kind)
            if bulk.is_open:
                batch.opened[self.streams] = (self.head, bulk.wake_at_us)
        batch.new_head = self.head
        batch.sequences[1] = self.head
        if is_first:
            batch.tenants[1] = TENANT
        signed = self.signer.sign(self.tree.size, self.tree.root())
        batch.checkpoints.append((SHARD, *signed))
        return batch

    def _append(self, batch, version, payload, envelope, kind):
        self.head += 1
        stamp = self.recorded_at_us
        record = self.last_record = encode_record(
            payload,
            envelope,
            position=self.head,
            tenant_sequence=self.head,
            stream_version=version,
            recorded_at_us=stamp,
        )
        self.record_bytes += len(record)
        batch.events.append((SHARD, self.head, self.streams, version, kind, stamp, 1, record))
        batch.tiles.extend((SHARD, *tile) for tile in self.tree.append(leaf_hash(record)))


def write_log(on, bulks: Sequence[Bulk]) -> Written:
    """Write a log into a database that is empty. The service can be started on it then."""
    migrate(on.url)
    settings = settings_of(on.url, on.folder)
    backend = PostgresBackend(on.url) if is_postgres(on.url) else SqliteBackend(path_of(on.url))
    log = _Log(open_signer(settings), time.time_ns() // 1000)
    asyncio.run(_write(backend, log, bulks))
    asyncio.run(_begin_read_models_at(settings, log))
    return Written(log.head, log.record_bytes, log.last_stream_id)


async def _write(backend, log, bulks):
    total = sum(bulk.workflows * len(bulk.history.events) for bulk in bulks)
    await backend.open(lambda _: None)
    try:
        shown_s = time.monotonic()
        batch = Batch(0, 0, 0, 0)
        for workflows in _commits(bulks):
            # The next batch is made while the database takes the one before.
            batch, _ = await asyncio.gather(asyncio.to_thread(log.batch, workflows), _commit(backend, batch))
            if time.monotonic() - shown_s > 1:
                shown_s = time.monotonic()
                print(f"\rwriting a log: {log.head:,} of {total:,} events", end="", file=sys.stderr, flush=True)
        await _commit(backend, batch)
    finally:
        await backend.close()
    print(f"\rwrote a log of {log.head:,} events         ", file=sys.stderr, flush=True)


async def _commit(backend, batch):
    if batch:
        await backend.commit(batch)


def _commits(bulks):
    """The workflows of each commit."""
    for bulk in bulks:
        at_once = max(1, COMMIT_EVENTS // len(bulk.history.events))
        for first in range(0, bulk.workflows, at_once):
            yield [bulk] * min(at_once, bulk.workflows - first)


async def _begin_read_models_at(settings, log):
    """Let the read models be up to date, with the rows of nothing, so that they do not catch up while we measure."""
    database = projections_database(settings)
    await database.prepare()
    # As the first owner of the log, which the service is not: it comes after.
    await database.open(0)

    def begin(connection):
        checkpoints.prepare(connection)
        at = checkpoints.Checkpoint(log.head, hashlib.sha256(log.last_record).digest(), frozenset())
        for make in (WorkflowList, AuditTrail):
            model = make(1)
            model.metadata.create_all(connection)
            stored = checkpoints.Stored(
                model.name, 1, is_served=True, schema_version=model.schema_version, whole_at=0, checkpoint=at
            )
            checkpoints.add(connection, stored)

    try:
        await database.write(begin)
    finally:
        await database.close()
