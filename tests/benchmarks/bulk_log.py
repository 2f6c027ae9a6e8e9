"""Makes large logs quickly: real histories, appended again and again under new ids, through the store as it is.

The events and their bytes are what the service would have recorded; only the deciding is left out. The Merkle tree is
built and signed meanwhile, as in the service. The read models begin at the log's end: their rows are not made.
"""

import asyncio
import hashlib
import itertools
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from service.clock import SystemClock
from service.main import open_log, open_signer, projections_database
from service.projections import checkpoints
from service.projections.audit import AuditTrail
from service.projections.tool_statistics import ToolStatistics
from service.projections.workflows import WorkflowList
from store.checkpointer import Checkpointer
from store.contract import Append, NewEvent, OpenWorkflow, RecordedEvent, StreamAppend
from store.records import decode_record, encode_envelope, known_payload
from tests.benchmarks.served import settings_of

TENANT = "default"
APPEND_EVENTS = 8_192
"""Events in an append: so many that flushes cost nothing, so few that a statement ends in time."""
APPENDS_AT_ONCE = 2
CHECKPOINT_EVENTS = 100_000
TELL_EVERY_S = 1


class History:
    """What a real service recorded of one workflow, to be appended again under other ids of the same length."""

    def __init__(self, recorded: Sequence[RecordedEvent]) -> None:
        self._stream_id = recorded[0].stream_id.encode()
        self._events = [_new_event(decode_record(event.record)) for event in recorded]

    def __len__(self):
        return len(self._events)

    def under(self, number):
        """All its events, in the stream that has a number for its id."""
        stream_id = b"wf_%0*d" % (len(self._stream_id) - 3, number)
        envelopes = {envelope: envelope.replace(self._stream_id, stream_id) for _, envelope in self._events}
        events = [NewEvent(payload, envelopes[envelope]) for payload, envelope in self._events]
        return StreamAppend(TENANT, stream_id.decode(), 0, events)


def _new_event(event):
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
    return NewEvent(known_payload(event), envelope)


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
    last: RecordedEvent


def write_log(on, bulks: Sequence[Bulk]) -> Written:
    """Write a log into a database that is empty. The service can be started on it then."""
    settings = settings_of(on.url, on.folder)
    written = asyncio.run(_write(settings, bulks))
    asyncio.run(_begin_read_models_after(settings, written.last))
    return written


async def _write(settings, bulks):
    log = open_log(settings, SystemClock())
    await log.open()
    checkpointer = Checkpointer(log, open_signer(settings), [], every_events=CHECKPOINT_EVENTS, interval_s=60)
    try:
        async with asyncio.TaskGroup() as tasks:
            signing = tasks.create_task(checkpointer.run())
            written = await _append_all(log, bulks, tasks)
            signing.cancel()
        await checkpointer.finish()
    finally:
        await log.close()
    print(f"\rwrote a log of {written.head:,} events         ", file=sys.stderr, flush=True)
    return written


async def _append_all(log, bulks, tasks):
    total = sum(bulk.workflows * len(bulk.history) for bulk in bulks)
    record_bytes, told_s = 0, time.monotonic()
    # The next append is made while the database takes the one before.
    waiting = deque()
    appends = _appends(bulks)
    while True:
        append = next(appends, None)
        if append is not None:
            waiting.append(tasks.create_task(log.append(append)))
        if append is not None and len(waiting) < APPENDS_AT_ONCE:
            continue
        events = (await waiting.popleft()).events
        record_bytes += sum([len(event.record) for event in events])
        if not waiting:
            return Written(log.head, record_bytes, events[-1])
        if time.monotonic() - told_s > TELL_EVERY_S:
            told_s = time.monotonic()
            print(f"\rwriting a log: {log.head:,} of {total:,} events", end="", file=sys.stderr, flush=True)


def _appends(bulks):
    """The appends of all workflows, some workflows each."""
    numbers = itertools.count(1)
    for bulk in bulks:
        at_once = max(1, APPEND_EVENTS // len(bulk.history))
        for first in range(0, bulk.workflows, at_once):
            streams = [bulk.history.under(next(numbers)) for _ in range(min(at_once, bulk.workflows - first))]
            opened = [OpenWorkflow(TENANT, stream.stream_id, bulk.wake_at_us) for stream in streams if bulk.is_open]
            yield Append(streams, opened=opened)


async def _begin_read_models_after(settings, last):
    """Let the read models be up to date, with no rows, so that they do not catch up while something is measured."""
    at = checkpoints.Checkpoint(last.position, hashlib.sha256(last.record).digest(), frozenset())

    def begin(connection):
        checkpoints.prepare(connection)
        for make in (WorkflowList, AuditTrail, ToolStatistics):
            model = make(1)
            model.metadata.create_all(connection)
            stored = checkpoints.Stored(
                model.name, 1, is_served=True, schema_version=model.schema_version, whole_at=0, checkpoint=at
            )
            checkpoints.add(connection, stored)

    database = projections_database(settings)
    await database.prepare()
    # Before every owner that the log will have.
    await database.open(0)
    try:
        await database.write(begin)
    finally:
        await database.close()
