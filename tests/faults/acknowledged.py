"""A client of a store that remembers what it was told is durable, and looks for it later.

Each event of an append names the append and how many events it has, so that half of one is seen.
"""

import asyncio
import sqlite3
from itertools import groupby

from sqlalchemy.exc import DBAPIError

from podium.v1 import events_pb2
from store.contract import SHARD, Append, DataKey, NewEvent, OutputChunk, StoreError, StreamAppend
from store.event_log import EventLog
from store.limits import StoreLimits
from store.records import decode_record, encode_envelope
from store.sqlite import SqliteBackend
from store.sqlite_reader import SqliteReader
from tests.contract.events import TENANT, FakeClock

WRITERS = 3


class EagerBackend(SqliteBackend):
    """The backend, with a checkpoint every few commits: a run of a second meets what a day does."""

    def _commit(self, batch):
        return super()._commit(batch) or self._log_bytes > 100_000


def log_at(path, backend_class=EagerBackend):
    reader = SqliteReader(path, connections=1)
    return EventLog(backend_class(path), reader, clock=FakeClock(), limits=StoreLimits())


async def write(log, run, rounds, acknowledged):
    """Write everything that a log takes, by a few clients at once; `acknowledged` is called with every fact.

    A client stops when it is refused. Returns the refusals.
    """
    refusals = []

    async def client(name):
        stream_id = f"{run}.{name}"
        version = 0
        try:
            for number in range(1, rounds + 1):
                version = await _append(log, stream_id, version, 1 + number % 3, f"{stream_id}.{number}", acknowledged)
                await _attach(log, stream_id, number, acknowledged)
        except StoreError as refusal:
            refusals.append(refusal)

    async with asyncio.TaskGroup() as group:
        for name in range(WRITERS):
            group.create_task(client(name))
    return refusals


async def _append(log, stream_id, version, count, call, acknowledged):
    envelope = encode_envelope(
        shard=SHARD, tenant=TENANT, stream_id=stream_id, correlation_id=call, causation_position=count
    )
    events = [NewEvent(events_pb2.StepSkipped(step_id="s" * 40), envelope)] * count
    committed = await log.append(Append([StreamAppend(TENANT, stream_id, version, events)]))
    for event in committed.events:
        acknowledged(("event", event.position, event.record))
    return version + count


async def _attach(log, stream_id, number, acknowledged):
    """What is written beside the events: a chunk and a payload that needs new pages, and a data key at times."""
    chunk = OutputChunk(TENANT, stream_id, "step", 1, number, f"{stream_id}:{number}".encode())
    await log.append_chunks([chunk])
    acknowledged(("chunk", stream_id, number, chunk.data))
    data = f"{stream_id}:{number}".encode() * 600
    acknowledged(("payload", await log.write_payload(TENANT, data), data))
    if number % 5 == 0:
        await log.write_data_key(DataKey(f"{stream_id}:{number}", b"wrapped", None, TENANT))
        acknowledged(("key", f"{stream_id}:{number}"))


async def missing(path, facts):
    """Open the store and yield a sentence for everything that is not as was acknowledged, or half."""
    log = log_at(path, SqliteBackend)
    found = []
    try:
        await log.open()
    except StoreError as error:
        return [f"it does not open: {error}"]
    try:
        records = []
        while page := await log.read_all(len(records)):
            records += [event.record for event in page]
        if len(records) != log.head:
            found.append(f"the head is {log.head}, and there are {len(records)} events")
        found += _halves(records)
        found += await _lost(log, records, facts)
    except (StoreError, DBAPIError) as error:
        found.append(f"it does not read: {error}")
    finally:
        await log.close()
    return [*found, *_corruption(path)]


def _halves(records):
    for call, group in groupby(map(decode_record, records), lambda event: event.correlation_id):
        events = list(group)
        if len(events) != events[0].causation_position:
            yield f"{len(events)} of {events[0].causation_position} events of {call} are there"


async def _lost(log, records, facts):
    keys = {key.key_id for key in await log.read_data_keys()}
    chunks = {}
    lost = []
    for fact in facts:
        match fact:
            case "event", position, record:
                held = len(records) >= position and records[position - 1] == record
            case "key", key_id:
                held = key_id in keys
            case "payload", digest, data:
                held = await _payload(log, digest) == data
            case "chunk", stream_id, number, data:
                if stream_id not in chunks:
                    chunks[stream_id] = await log.read_attempt_chunks(TENANT, stream_id, "step", 1)
                held = len(chunks[stream_id]) >= number and chunks[stream_id][number - 1].data == data
        if not held:
            lost.append(f"{fact[0]} {fact[1]} was acknowledged and is not there")
    return lost


async def _payload(log, digest):
    try:
        return await log.read_payload(TENANT, digest)
    except StoreError:
        return None


def _corruption(path):
    connection = sqlite3.connect(path)
    try:
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        problems = [str(error)]
    finally:
        connection.close()
    return [f"the file is corrupt: {problem}" for problem in problems if problem != "ok"]
