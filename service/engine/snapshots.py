"""Snapshots: the state of a long stream as it was at a version, so that loading it needs no fold of what came before.

A snapshot is a cache. One that was made by another fold, that is not what was written or that does not fit the stream
is dropped, and the stream is folded from its beginning; nothing that proves anything reads one.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import service.domain
import store
from podium.v1 import definition_pb2, events_pb2, value_pb2
from service.domain.snapshot import Restoring, in_pieces, pieces_of
from service.engine.resident import Resident, StepMarks
from store.contract import RecordedEvent, Snapshot

logger = logging.getLogger(__name__)

AT_REST_EVENTS = 500
"""A workflow that is parked or has ended gets a snapshot when so many events came since the last one."""
RUNNING_EVENTS = 5_000
"""One that runs gets it after so many and no fewer than a quarter of its stream, so that all of them cost no more than
a few times what the last one costs."""

BYTES_MAX = 16 * 1024 * 1024
"""A snapshot that would be larger is not written: a stream with so much in its values takes long to load anyway."""

_LENGTH = struct.Struct("<I")
_SEAL_BYTES = 32
_COMPRESSION_LEVEL = 1


class SnapshotStore(Protocol):
    """Where snapshots are durable."""

    async def read_stream(
        self, tenant: str, stream_id: str, after_version: int = 0, limit: int | None = None
    ) -> list[RecordedEvent]:
        """Read a stream."""

    async def read_snapshot(self, tenant: str, stream_id: str) -> Snapshot | None:
        """Read the newest snapshot of a stream."""

    async def write_snapshot(self, snapshot: Snapshot) -> None:
        """Make one durable."""


class SnapshotTooLargeError(Exception):
    """The state is too large for a snapshot."""


class _Doubt(Exception):
    """Why a snapshot is not used."""


@cache
def state_schema() -> bytes:
    """Names the fold of this version: SHA-256 over whatever decides what a state is.

    That is the source of the domain, of what the engine keeps beside a state and of how records are read, and the
    contract's messages. Any change to them drops every snapshot; nobody has to remember it.
    """
    sources = sorted(Path(service.domain.__path__[0]).glob("*.py"))
    sources += [Path(__file__), Path(__file__).with_name("resident.py")]
    sources += [Path(store.__path__[0]) / name for name in ("records.py", "upcasting.py")]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    for contract in (events_pb2, definition_pb2, value_pb2):
        digest.update(hashlib.sha256(contract.DESCRIPTOR.serialized_pb).digest())
    return digest.digest()


def is_due(resident: Resident) -> bool:
    """Whether a workflow that runs, or has ended, has come far enough since its last snapshot."""
    if not resident.state.running:
        return is_due_at_rest(resident)
    return resident.version - resident.snapshot_version >= max(RUNNING_EVENTS, resident.version // 4)


def is_due_at_rest(resident: Resident) -> bool:
    """Whether a workflow that is about to leave memory has."""
    return resident.version - resident.snapshot_version >= AT_REST_EVENTS


class Snapshots:
    """Writes and reads snapshots. What is written is authenticated, because a state says what may be done."""

    def __init__(self, store: SnapshotStore, key: bytes, schema: bytes | None = None) -> None:
        """With `key` snapshots are authenticated; `schema` is that of this version unless it is given."""
        self._store = store
        self._key = key
        self._schema = state_schema() if schema is None else schema

    async def write(self, resident: Resident) -> None:
        """Make a snapshot of a workflow that is durable and does not change meanwhile.

        Raises SnapshotTooLargeError and StoreError; then the next is due only when much more has happened.
        """
        key, version = resident.key, resident.version
        resident.snapshot_version = version
        [last] = await self._store.read_stream(*key, after_version=version - 1, limit=1)
        frames = bytearray()
        for piece in _pieces(resident, last):
            text = json.dumps(piece, ensure_ascii=False, separators=(",", ":"))
            data = zlib.compress(text.encode(), _COMPRESSION_LEVEL)
            frames += _LENGTH.pack(len(data)) + data
            if len(frames) > BYTES_MAX:
                raise SnapshotTooLargeError(f"it is larger than {BYTES_MAX} bytes")
            await asyncio.sleep(0)
        sealed = self._seal(frames) + frames
        await self._store.write_snapshot(Snapshot(*key, version, self._schema, sealed))

    async def restore(self, resident: Resident) -> bool:
        """Give a workflow that is being loaded the state of its snapshot; False: there is none of use."""
        try:
            snapshot = await self._store.read_snapshot(*resident.key)
            if snapshot is None:
                return False
            await self._restore(resident, snapshot)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a cache, the events tell
            why = str(error) if isinstance(error, _Doubt) else f"it cannot be read ({type(error).__name__})"
            logger.info("the snapshot of %s is dropped: %s", resident.key.workflow_id, why)
            return False
        return True

    async def _restore(self, resident: Resident, snapshot: Snapshot) -> None:
        if snapshot.state_schema != self._schema:
            raise _Doubt("another fold made it")
        frames = snapshot.data[_SEAL_BYTES:]
        if not hmac.compare_digest(snapshot.data[:_SEAL_BYTES], self._seal(frames)):
            raise _Doubt("it is not what was written, or another master key authenticated it")
        reading = _Reading(resident)
        for piece in _read_frames(frames):
            reading.take(piece)
            await asyncio.sleep(0)
        for _ in reading.state.finish():
            await asyncio.sleep(0)
        at_version = await self._store.read_stream(*resident.key, after_version=reading.version - 1, limit=1)
        if [_identity(resident, event) for event in at_version] != [reading.identity]:
            raise _Doubt(f"the stream has no such version {reading.version}")
        reading.finish()

    def _seal(self, frames: bytes | bytearray) -> bytes:
        return hmac.digest(self._key, self._schema + frames, "sha256")


def _identity(resident: Resident, last: RecordedEvent) -> list[Any]:
    """What a snapshot is of: the stream, and its last event."""
    return [*resident.key, last.stream_version, hashlib.sha256(last.record).hexdigest()]


def _pieces(resident: Resident, last: RecordedEvent) -> Iterator[tuple[str, Any]]:
    principal = resident.principal
    yield (
        "resident",
        {
            "identity": _identity(resident, last),
            "principal": None if principal is None else b64encode(principal.SerializeToString()).decode(),
            "trace_context": resident.trace_context,
            "started_us": resident.started_us,
            "ended_us": resident.ended_us,
        },
    )
    yield from pieces_of(resident.state)
    for marks in in_pieces(resident.marks.items()):
        yield "marks", [_told(name, mark) for name, mark in marks]


def _told(name: str, mark: StepMarks) -> list[str | int]:
    return [name, mark.started_us, mark.ended_us, mark.ended_position, mark.queued_position]


def _read_frames(frames: bytes) -> Iterator[Any]:
    place = 0
    while place < len(frames):
        (length,) = _LENGTH.unpack_from(frames, place)
        place += _LENGTH.size
        yield json.loads(zlib.decompress(frames[place : place + length]))
        place += length


class _Reading:
    """What a snapshot says of a workflow, as far as it was read. The workflow gets it when all was."""

    def __init__(self, resident: Resident) -> None:
        self.state = Restoring()
        self.version = 0
        self.identity: list[Any] = []
        self._resident = resident
        self._head: dict[str, Any] = {}
        self._marks: dict[str, StepMarks] = {}

    def take(self, piece: list[Any]) -> None:
        """Take in a piece. Raises whatever it stumbles over in one that is broken."""
        kind, content = piece
        if kind == "resident":
            self._head, self.identity = content, content["identity"]
            self.version = self.identity[2]
        elif kind == "marks":
            for name, started_us, ended_us, ended_position, queued_position in content:
                marks = self._marks[name] = StepMarks()
                marks.started_us, marks.ended_us = started_us, ended_us
                marks.ended_position, marks.queued_position = ended_position, queued_position
        elif not self.state.take(piece):
            raise _Doubt(f"it has a piece {kind!r}")

    def finish(self) -> None:
        """Hand everything to the workflow."""
        resident, head = self._resident, self._head
        resident.state = self.state.state
        resident.marks = self._marks
        if head["principal"] is not None:
            resident.principal = value_pb2.Principal.FromString(b64decode(head["principal"]))
        resident.trace_context = head["trace_context"]
        resident.started_us, resident.ended_us = head["started_us"], head["ended_us"]
        resident.version = resident.snapshot_version = self.version
