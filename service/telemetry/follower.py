"""Follows the log and tells metrics and traces of every event, once and in order, in a task of its own.

Nobody waits for it and nothing it fails at reaches a caller: an event that cannot be told is counted and passed over.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Protocol

from podium.v1 import events_pb2
from service.telemetry.event_counts import EventCounts
from service.telemetry.metrics import Metrics
from service.telemetry.trails import WORKFLOW_ENDINGS, WORKFLOW_STREAMS, Trail, Trails
from store.contract import EventStore, RecordedEvent, StoreClosedError, StoreError
from store.records import decode_record

_log = logging.getLogger(__name__)

TOGETHER = 100
"""Events that are told before other work has its turn."""
_RETRY_S = 1.0
_UNKNOWN = "unknown"


class SpanMaker(Protocol):
    """Makes spans of events."""

    def told(self, trail: Trail, event: events_pb2.Event, payload: Any) -> None:  # noqa: ANN401 - any event
        """An event of a workflow, whose trail is as it was before the event."""

    def told_beside(self, event: events_pb2.Event, payload: Any) -> None:  # noqa: ANN401 - any event
        """An event of a stream that is no workflow."""

    def flush(self) -> None:
        """No more events for now."""


class Follower:
    """Tells what the log recorded since it was made."""

    def __init__(
        self, store: EventStore, metrics: Metrics, counts: EventCounts, trails: Trails, spans: SpanMaker | None
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._counts = counts
        self._trails = trails
        self._spans = spans
        self.position = store.head
        """The last event that was told."""
        self._advanced = asyncio.Event()
        self._following: asyncio.Task[object] | None = None

    @property
    def lag(self) -> int:
        """How many events of the log were not told yet."""
        return max(0, self._store.head - self.position)

    async def run(self) -> None:
        """Follow the log until it closes, or until `finish`."""
        self._following = asyncio.current_task()
        try:
            await self._resume()
        except StoreError:
            _log.warning("what waited before the start could not be read, and has no metrics until it moves")
        while True:
            try:
                async for batch in self._store.subscribe(after_position=self.position):
                    for index, recorded in enumerate(batch.events):
                        if index % TOGETHER == TOGETHER - 1:
                            await asyncio.sleep(0)
                        await self._tell_safely(recorded)
                        self.position = recorded.position
                    if self._spans is not None and batch.caught_up:
                        self._spans.flush()
                    self._advanced.set()
            except StoreClosedError:
                return
            except StoreError as error:
                _log.warning("telemetry waits for the log: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def finish(self, within_s: float) -> None:
        """Tell what the log has by now, as far as that can be done in a time, and then nothing any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.lag:
                    self._advanced.clear()
                    await self._advanced.wait()
        if self._following is not None:
            self._following.cancel()
        if self._spans is not None:
            self._spans.flush()
        if self.lag:
            # How many spans they would have been nobody knows who has not read them.
            self._metrics.telemetry_errors.inc(self.lag)
            _log.warning("the last %d events of the log were not counted and have no spans", self.lag)

    async def _resume(self) -> None:
        """Find what waits since before the start."""
        before = self.position + 1
        for entry in await self._store.open_workflows():
            if entry.wake_at_us is None:
                self._counts.resume(await self._trails.load(entry.tenant, entry.stream_id, before=before))

    async def _tell_safely(self, recorded: RecordedEvent) -> None:
        try:
            await self._tell(recorded)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - it is told without its text, which may be a value's
            self._metrics.telemetry_errors.inc()
            _log.error("the event %d was not counted: %s", recorded.position, type(error).__name__)

    async def _tell(self, recorded: RecordedEvent) -> None:
        event = decode_record(recorded.record)
        name = event.WhichOneof("payload")
        self._counts.count_type(name or _UNKNOWN)
        if name is None:
            return
        payload = getattr(event, name)
        if not recorded.stream_id.startswith(WORKFLOW_STREAMS):
            self._counts.count_beside(recorded.tenant, payload)
            if self._spans is not None:
                self._spans.told_beside(event, payload)
            return
        trail = await self._trails.before(recorded)
        self._counts.count(trail, payload, event.recorded_at_us)
        if self._spans is not None:
            self._spans.told(trail, event, payload)
        if type(payload) in WORKFLOW_ENDINGS:
            self._trails.close(trail)
        else:
            trail.fold(event, payload, self._trails.ratio)
