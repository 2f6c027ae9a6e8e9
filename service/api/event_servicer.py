"""EventService: the log itself, of the caller's tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from podium.v1 import event_service_pb2 as pb
from podium.v1 import event_service_pb2_grpc as grpc_stubs
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.handlers import Context
from service.api.sizes import frames_of
from service.domain.errors import InvalidInput
from store.contract import CursorAheadError, EventStore, RecordedEvent
from store.records import TYPE_NUMBERS, decode_record

EVENTS_PER_FRAME = 500


class EventServicer(grpc_stubs.EventServiceServicer):
    """Serves EventService. Method names are those of the contract."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def ReadStream(self, request: pb.ReadStreamRequest, context: Context) -> AsyncIterator[pb.ReadStreamResponse]:
        """Read one stream in order and end."""
        tenant = current_caller().tenant
        version, left = min(request.after_version, p.NUMBER_MAX), request.limit or p.NUMBER_MAX
        while left:
            size = min(left, EVENTS_PER_FRAME)
            events = await self._store.read_stream(tenant, request.stream_id, after_version=version, limit=size)
            for frame in frames_of(events):
                yield pb.ReadStreamResponse(events=[decode_record(event.record) for event in frame])
                version = frame[-1].stream_version
            if len(events) < size:
                return
            left -= len(events)

    async def ReadAll(self, request: pb.ReadAllRequest, context: Context) -> AsyncIterator[pb.ReadAllResponse]:
        """Read all events in order and end."""
        tenant = current_caller().tenant
        position, left = _position(request.cursor), request.limit or p.NUMBER_MAX
        while left:
            size = min(left, EVENTS_PER_FRAME)
            events = await self._store.read_all(position, limit=size, tenant=tenant)
            for frame in frames_of(events):
                position = frame[-1].position
                decoded = [decode_record(event.record) for event in frame]
                yield pb.ReadAllResponse(events=decoded, cursor=p.consistency_token(position))
            if len(events) < size:
                return
            left -= len(events)

    async def Subscribe(self, request: pb.SubscribeRequest, context: Context) -> AsyncIterator[pb.SubscribeResponse]:
        """Read all events in order and stay for what comes; an empty frame says how far the subscription is."""
        unknown = sorted(set(request.types) - TYPE_NUMBERS.keys())
        if unknown:
            problem = f"names types that do not exist: {', '.join(unknown)}"
            raise InvalidInput("UNKNOWN_TYPE", f"types {problem}", violations=[("types", problem)])
        types = frozenset(TYPE_NUMBERS[name] for name in request.types)
        tenant = current_caller().tenant
        caught_up = False
        try:
            async for batch in self._store.subscribe(_position(request.cursor), tenant=tenant):
                *earlier, last = list(frames_of(_matching(batch.events, request.stream_prefix, types))) or [()]
                for frame in earlier:
                    yield _delivered(frame, frame[-1].position, caught_up=caught_up)
                caught_up = caught_up or batch.caught_up
                yield _delivered(last, batch.position, caught_up=caught_up)
        except CursorAheadError:
            problem = "is beyond the log: it is from another log, or this one was restored from an older copy"
            raise InvalidInput("CURSOR_AHEAD", f"cursor {problem}", violations=[("cursor", problem)]) from None


def _delivered(events: Sequence[RecordedEvent], position: int, *, caught_up: bool) -> pb.SubscribeResponse:
    decoded = [decode_record(event.record) for event in events]
    return pb.SubscribeResponse(events=decoded, cursor=p.consistency_token(position), caught_up=caught_up)


def _matching(events: Sequence[RecordedEvent], prefix: str, types: frozenset[int]) -> list[RecordedEvent]:
    return [e for e in events if e.stream_id.startswith(prefix) and (not types or e.type in types)]


def _position(cursor: str) -> int:
    return p.position_of(cursor, "cursor") if cursor else 0
