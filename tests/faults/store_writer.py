"""A process that does nothing but write the log, and tells all it is told down a pipe, until it is killed.

Its parent has imported the store and forks it, so a life costs milliseconds. It first tells what it finds in the log,
then several clients append and read at once. A line that was written to the pipe outlives the process.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
from pathlib import Path

from podium.v1 import events_pb2
from store.contract import SHARD, Append, NewEvent, StoreError, StreamAppend
from store.event_log import EventLog
from store.limits import StoreLimits
from store.postgres import PostgresBackend
from store.postgres_engine import is_postgres
from store.postgres_reader import PostgresReader
from store.records import encode_envelope
from store.sqlite import SqliteBackend
from store.sqlite_reader import SqliteReader
from store.writer import GroupCommitWriter
from tests.contract.events import TENANT, FakeClock

CLIENTS = 4
PAGE = 200


def fold(digest, record):
    """The state of a stream, as far as a store can tell: a digest over all of its records."""
    return hashlib.sha256(digest + record).digest()


class HastyWriter(GroupCommitWriter):
    """A negative control: it acknowledges before it commits."""

    async def _commit(self, group):
        self._acknowledge(group)
        for _ in range(3):
            # What was acknowledged must reach the ledger, or the kill takes it along.
            await asyncio.sleep(0)
        if group.batch:
            self._pass("committing")
            await self._backend.commit(group.batch)


class ResettingSqlite(SqliteBackend):
    """A negative control: whoever reclaims the shard counts its epochs from the beginning."""

    def _take(self, connection, raw):
        raw.execute("UPDATE shards SET epoch = 0")
        return super()._take(connection, raw)


class ResettingPostgres(PostgresBackend):
    """The same on Postgres."""

    async def _take(self, connection):
        await connection.execute("UPDATE shards SET epoch = 0")
        return await super()._take(connection)


def log_in(database, order, on_point):
    """The store on a SQLite file or a Postgres, as the order wants it."""
    resets = order["control"] == "resetting"
    if is_postgres(database):
        backend = (ResettingPostgres if resets else PostgresBackend)(database)
        reader = PostgresReader(database, connections=1)
    else:
        path = Path(database)
        backend = (ResettingSqlite if resets else SqliteBackend)(path, on_point=on_point)
        reader = SqliteReader(path, connections=1)
    log = EventLog(backend, reader, clock=FakeClock(), limits=StoreLimits(), on_point=on_point)
    if order["control"] == "hasty":
        log.writer_class = HastyWriter
    return log


def fuse(point, nth):
    """Ends the process at the n-th time that a group commit passes the point."""
    left = nth

    def reach(passed):
        nonlocal left
        left -= passed == point
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


class StoreWriter:
    """One life of the writer: `order` says how, `streams` is what the log held when it was last looked at."""

    def __init__(self, database, pipe, order, streams, head):
        self._pipe = pipe
        self._order = order
        self._streams = dict(streams)
        self._head = head
        self._log = log_in(database, order, fuse(order["point"], order["nth"]))

    def tell(self, **line):
        os.write(self._pipe, (json.dumps(line) + "\n").encode())

    async def run(self):
        try:
            await self._log.open()
            self.tell(what="opened", epoch=self._log.epoch)
            await self._look()
            if self._order["writes"]:
                async with asyncio.TaskGroup() as group:
                    for client in range(CLIENTS):
                        group.create_task(self._write(client))
                    group.create_task(self._read())
            await self._log.close()
        except StoreError as error:
            self.tell(what="failed", error=str(error))

    async def _look(self):
        """Tell what is there after the place that was last looked at, or all of it."""
        after = 0 if self._order["everything"] else self._head
        while events := await self._log.read_all(after, PAGE):
            records = [event.record.hex() for event in events]
            self.tell(what="found", after=after, records=records)
            for event in events:
                if event.position > self._head:
                    version, digest = self._streams.get(event.stream_id, (0, b""))
                    self._streams[event.stream_id] = version + 1, fold(digest, event.record)
            after = events[-1].position
        self.tell(what="looked", head=self._log.head)

    async def _write(self, client):
        number = 0
        while True:
            number += 1
            # Now and then a new stream; else the client's own, as far as it has come.
            stream_id = f"{client}" if number % 5 else f"{self._order['life']}.{client}.{number}"
            call = f"{self._order['life']}/{client}/{number}"
            version, digest = self._streams.get(stream_id, (0, b""))
            # Each seventh expects what is not so, and must not be recorded.
            expected = version + 1 if number % 7 == 0 else version
            count = 1 + number % 3
            # Each event says of how many it is one, so that half an append is seen.
            envelope = encode_envelope(
                shard=SHARD, tenant=TENANT, stream_id=stream_id, correlation_id=call, causation_position=count
            )
            events = [NewEvent(events_pb2.StepSkipped(step_id=call), envelope)] * count
            self.tell(what="invoke", call=call)
            try:
                committed = await self._log.append(Append([StreamAppend(TENANT, stream_id, expected, events)]))
            except StoreError:
                self.tell(what="fail", call=call)
                continue
            for event in committed.events:
                digest = fold(digest, event.record)
            self._streams[stream_id] = version + len(events), digest
            self.tell(what="ok", call=call, stream=stream_id, version=version + len(events), state=digest.hex())

    async def _read(self):
        number = 0
        while True:
            number += 1
            call = f"{self._order['life']}/read/{number}"
            self.tell(what="invoke", call=call)
            events = await self._log.read_all(max(0, self._log.head - 1))
            self.tell(what="ok", call=call, head=events[-1].position if events else 0)


def fork_writer(database, order, streams, head):
    """Fork a life of the writer. Returns its process id and the end of the pipe to read from."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.close(reading)
        with contextlib.suppress(BrokenPipeError):
            asyncio.run(StoreWriter(database, writing, order, streams, head).run())
    finally:
        os._exit(0)
