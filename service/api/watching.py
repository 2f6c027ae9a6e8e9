"""Watching a workflow: what is in the log first, then what becomes durable, in one order and without a gap."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from podium.v1 import events_pb2, workflow_service_pb2
from service.api.parts import ApiParts, is_number
from service.api.sizes import ANSWER_BYTES
from service.domain.errors import InvalidInput, NotFound
from service.engine.keys import WorkflowKey
from service.engine.sealing import is_sealed
from service.engine.watchers import WatchedItem, Watcher
from store.contract import RecordedChunk, RecordedEvent
from store.records import TYPE_NUMBERS, decode_record

EVENTS_PER_READ = 500
CHUNKS_PER_READ = 64
_ENDINGS = frozenset(TYPE_NUMBERS[n] for n in ("workflow_succeeded", "workflow_failed", "workflow_canceled"))


@dataclass(slots=True)
class Cursor:
    """How far a watcher has come: the version of the last event and the ordinal of the last chunk."""

    version: int = 0
    ordinal: int = 0

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor. Raises InvalidInput."""
        if not text:
            return cls()
        version, _, ordinal = text.partition(".")
        if is_number(version) and is_number(ordinal):
            return cls(int(version), int(ordinal))
        raise _foreign_cursor()

    def __str__(self) -> str:
        return f"{self.version}.{self.ordinal}"


def _foreign_cursor() -> InvalidInput:
    problem = "is not from a stream of this workflow"
    return InvalidInput("INVALID_CURSOR", f"cursor {problem}", violations=[("cursor", problem)])


async def watch(
    parts: ApiParts, key: WorkflowKey, request: workflow_service_pb2.WatchWorkflowRequest
) -> AsyncIterator[workflow_service_pb2.WatchWorkflowResponse]:
    """Stream what happens to a workflow after a cursor, until it has ended. Raises NotFound."""
    cursor = Cursor.parse(request.cursor)
    # Registered before the log is read, so that nothing falls between the two.
    watcher = parts.engine.watchers.add(key)
    try:
        behind = True
        while True:
            if behind:
                async for response, ended in _catch_up(parts, key, cursor, with_chunks=not request.without_chunks):
                    yield response
                    if ended:
                        return
            news, ended, behind = await _follow(watcher, cursor, with_chunks=not request.without_chunks)
            for response in news:
                yield response
            if ended:
                return
    finally:
        parts.engine.watchers.remove(key, watcher)


async def _catch_up(
    parts: ApiParts, key: WorkflowKey, cursor: Cursor, *, with_chunks: bool
) -> AsyncIterator[tuple[workflow_service_pb2.WatchWorkflowResponse, bool]]:
    while True:
        events = await parts.store.read_stream(*key, after_version=cursor.version, limit=EVENTS_PER_READ)
        chunks: list[RecordedChunk] = []
        if with_chunks:
            chunks = await parts.store.read_chunks(*key, after_ordinal=cursor.ordinal, limit=CHUNKS_PER_READ)
        if not events and not chunks:
            # A cursor at the end of an ended workflow: nothing will come any more.
            if await _last_type(parts, key, cursor) in _ENDINGS:
                yield workflow_service_pb2.WatchWorkflowResponse(cursor=str(cursor)), True
            return
        # A full page may hide what belongs before the last of the other page.
        bounds = [page[-1].position for page, limit in ((events, EVENTS_PER_READ),) if len(page) == limit]
        bounds += [page[-1].position for page, limit in ((chunks, CHUNKS_PER_READ),) if len(page) == limit]
        bound = min(bounds, default=None)
        items: list[WatchedItem] = sorted([*events, *chunks], key=_order)
        responses, ended = _respond([i for i in items if bound is None or _order(i) <= (bound, 1, 2**63)], cursor)
        for number, response in enumerate(responses, 1):
            yield response, ended and number == len(responses)
        if ended:
            return


async def _last_type(parts: ApiParts, key: WorkflowKey, cursor: Cursor) -> int:
    """The type of the event a cursor names. Raises NotFound, and InvalidInput for a cursor beyond the workflow."""
    if cursor.version:
        last = await parts.store.read_stream(*key, after_version=cursor.version - 1, limit=1)
        if last:
            return last[0].type
        if await parts.store.read_stream(*key, limit=1):
            raise _foreign_cursor()
    raise NotFound("WORKFLOW_NOT_FOUND", f"there is no workflow {key.workflow_id}")


def _order(item: WatchedItem) -> tuple[int, int, int]:
    """Events by position; a chunk comes after the events that were in the log when it became durable."""
    if isinstance(item, RecordedEvent):
        return (item.position, 0, 0)
    assert isinstance(item, RecordedChunk), "progress is never in the log"
    return (item.position, 1, item.ordinal)


async def _follow(
    watcher: Watcher, cursor: Cursor, *, with_chunks: bool
) -> tuple[Sequence[workflow_service_pb2.WatchWorkflowResponse], bool, bool]:
    """Wait for what comes: (what to send, whether the workflow ended, whether the log must be read again)."""
    await watcher.wait()
    items, overflowed = watcher.take()
    if overflowed:
        return (), False, True
    fresh = [item for item in items if _is_new(item, cursor, with_chunks=with_chunks)]
    following = next((item for item in fresh if isinstance(item, RecordedEvent)), None)
    if following is not None and following.stream_version != cursor.version + 1:
        return (), False, True
    if not fresh:
        return (), False, False
    responses, ended = _respond(fresh, cursor)
    return responses, ended, False


def _is_new(item: WatchedItem, cursor: Cursor, *, with_chunks: bool) -> bool:
    if isinstance(item, RecordedEvent):
        return item.stream_version > cursor.version
    if isinstance(item, RecordedChunk):
        return with_chunks and item.ordinal > cursor.ordinal
    return True


def _respond(
    items: Iterable[WatchedItem], cursor: Cursor
) -> tuple[Sequence[workflow_service_pb2.WatchWorkflowResponse], bool]:
    """The items in one response, or in several where one would be too large for a message."""
    response = workflow_service_pb2.WatchWorkflowResponse()
    responses, size, ended = [response], 0, False
    for item in items:
        item_size = _size(item)
        if response.items and size + item_size > ANSWER_BYTES:
            response.cursor = str(cursor)
            response = workflow_service_pb2.WatchWorkflowResponse()
            responses.append(response)
            size = 0
        size += item_size
        if isinstance(item, RecordedEvent):
            response.items.add(event=_event(item))
            cursor.version = item.stream_version
            ended = ended or item.type in _ENDINGS
        elif isinstance(item, RecordedChunk):
            response.items.add(chunk=_chunk(item))
            cursor.ordinal = item.ordinal
        else:
            response.items.add(progress=item)
    response.cursor = str(cursor)
    return responses, ended


def _size(item: WatchedItem) -> int:
    if isinstance(item, RecordedEvent):
        return len(item.record)
    return len(item.data) if isinstance(item, RecordedChunk) else item.ByteSize()


def _chunk(item: RecordedChunk) -> workflow_service_pb2.OutputChunk:
    chunk = workflow_service_pb2.OutputChunk(step_id=item.step_id, attempt=item.attempt, sequence=item.sequence)
    if is_sealed(item.data):
        chunk.sealed_data = item.data
    else:
        chunk.data = item.data
    return chunk


def _event(item: RecordedEvent) -> events_pb2.Event:
    return decode_record(item.record)
