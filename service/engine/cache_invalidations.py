"""What ended the use of cached results: a stream `cache` a tenant, folded at start.

Invariant: what was cached before the last invalidation that speaks of it is never used again, also where it is kept
beside memory and after a restart. Of invalidations for given arguments a tenant has a bounded number; the oldest makes
room by speaking of its whole tool, which ends too much and never too little.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from podium.v1 import events_pb2
from service.engine.journal import Journal
from service.engine.resident import Cause
from store.contract import EventReader, RecordedEvent
from store.records import decode_record, known_payload

STREAM_ID = "cache"
EXACT_MAX = 10_000
"""Invalidations for given arguments that are remembered, of a tenant."""
_PAGE = 500

Invalidated = Callable[[str, str, bytes], None]
"""Called with tenant, tool (empty: all) and the digest of the arguments (empty: any)."""


class _Positions:
    """Where the last invalidations of a tenant are, by what they speak of."""

    def __init__(self) -> None:
        self.all = 0
        self.tools: dict[str, int] = {}
        self.exact: OrderedDict[tuple[str, bytes], int] = OrderedDict()

    def add(self, event: events_pb2.CacheInvalidated, position: int) -> None:
        if not event.tool:
            self.all = position
            # What came before speaks of nothing any more.
            self.tools.clear()
            self.exact.clear()
        elif not event.arguments_digest:
            self.tools[event.tool] = position
        else:
            self.exact[event.tool, event.arguments_digest] = position
            self.exact.move_to_end((event.tool, event.arguments_digest))
            if len(self.exact) > EXACT_MAX:
                (tool, _), oldest = self.exact.popitem(last=False)
                self.tools[tool] = max(oldest, self.tools.get(tool, 0))


class CacheInvalidations:
    """The invalidations of all tenants."""

    def __init__(self) -> None:
        self._journal: Journal | None = None
        self._tenants: dict[str, _Positions] = {}
        self._told: list[Invalidated] = []

    def on_invalidation(self, told: Invalidated) -> None:
        """Have somebody told of each invalidation as soon as it is durable. It must not raise."""
        self._told.append(told)

    async def load(self, reader: EventReader, journal: Journal) -> None:
        """Fold the streams."""
        self._journal = journal
        for tenant, stream_id in await reader.list_streams(STREAM_ID):
            version = 0
            while stream_id == STREAM_ID and (
                page := await reader.read_stream(tenant, STREAM_ID, version, limit=_PAGE)
            ):
                for recorded in page:
                    self._fold(recorded)
                version = page[-1].stream_version

    def generation_of(self, tenant: str, tool: str, arguments_digest: bytes) -> int:
        """The position of the last invalidation that speaks of a tool's results for arguments; 0: none does."""
        positions = self._tenants.get(tenant)
        if positions is None:
            return 0
        return max(positions.all, positions.tools.get(tool, 0), positions.exact.get((tool, arguments_digest), 0))

    async def invalidate(self, tenant: str, event: events_pb2.CacheInvalidated, cause: Cause | None = None) -> int:
        """Record that results are not to be used any more. In force once it is durable. Returns its position."""
        assert self._journal is not None, "load comes first"
        recorded = await self._journal.record(tenant, STREAM_ID, event, cause, self._recorded)
        return recorded.position

    def _recorded(self, recorded: RecordedEvent) -> None:
        event = self._fold(recorded)
        assert event is not None, "it is one that was recorded here"
        for told in self._told:
            told(recorded.tenant, event.tool, event.arguments_digest)

    def _fold(self, recorded: RecordedEvent) -> events_pb2.CacheInvalidated | None:
        event = known_payload(decode_record(recorded.record))
        if not isinstance(event, events_pb2.CacheInvalidated):
            return None
        self.fold(recorded.tenant, event, recorded.position)
        return event

    def fold(self, tenant: str, event: events_pb2.CacheInvalidated, position: int) -> None:
        """Take in an invalidation of the log."""
        self._tenants.setdefault(tenant, _Positions()).add(event, position)
