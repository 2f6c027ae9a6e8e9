"""Sends spans to the collector in batches, off the path of everything else.

Invariant: the queue is bounded. When it is full, because the collector is slow or away, new spans are dropped and
counted; nobody ever waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import Protocol

from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from service.telemetry.collector import RefusedByCollector, Unreachable
from service.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

TRACES_PATH = "/v1/traces"
SPANS_MAX = 8_192
BATCH_SPANS = 512
GATHERING_S = 0.5
"""How long spans gather before they are sent."""
RETRY_FIRST_S, RETRY_LONGEST_S = 1.0, 30.0
LAST_S = 2.0
"""How long the last ones may take when the service stops, from the log to the collector."""


class Sending(Protocol):
    """Takes messages to the collector."""

    async def send(self, path: str, message: Message) -> None:
        """Send a message. Raises Unreachable and RefusedByCollector."""


class SpanExport:
    """A queue of spans, and what empties it."""

    def __init__(
        self, collector: Sending, resource: resource_pb2.Resource, metrics: Metrics, spans_max: int = SPANS_MAX
    ) -> None:
        self._collector = collector
        self._resource = resource
        self._metrics = metrics
        self._max = spans_max
        self._queue: deque[trace_pb2.Span] = deque()
        self._wanted = asyncio.Event()
        self._sending = asyncio.Lock()
        """Held while a batch is sent: who sends the last ones must not send the one that is under way once more."""
        self._is_away = False

    def offer(self, spans: Iterable[trace_pb2.Span]) -> None:
        """Queue spans; those for which there is no room are dropped."""
        dropped = 0
        for span in spans:
            if len(self._queue) < self._max:
                self._queue.append(span)
            else:
                dropped += 1
        if dropped:
            self._metrics.spans_dropped.inc(dropped)
        self._wanted.set()

    async def run(self) -> None:
        """Send what is queued, until it is cancelled."""
        delay_s = RETRY_FIRST_S
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await asyncio.sleep(GATHERING_S)
            while self._queue:
                if await self._send():
                    delay_s = RETRY_FIRST_S
                else:
                    await asyncio.sleep(delay_s)
                    delay_s = min(2 * delay_s, RETRY_LONGEST_S)

    async def finish(self, within_s: float = LAST_S) -> None:
        """Send the last ones, as far as that can be done in a time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._queue and await self._send():
                    pass
        if self._queue:
            _log.warning("the collector did not take the last %d spans", len(self._queue))
        self._metrics.spans_dropped.inc(len(self._queue))
        self._queue.clear()

    async def _send(self) -> bool:
        """Send a batch; false: it is still queued."""
        async with self._sending:
            batch = list(islice(self._queue, BATCH_SPANS))
            return not batch or await self._send_batch(batch)

    async def _send_batch(self, batch: list[trace_pb2.Span]) -> bool:
        request = trace_service_pb2.ExportTraceServiceRequest()
        traces = request.resource_spans.add(resource=self._resource)
        traces.scope_spans.add(spans=batch).scope.name = "podium"
        try:
            await self._collector.send(TRACES_PATH, request)
        except Unreachable as away:
            self._failed(f"does not take spans: {away}")
            return False
        except RefusedByCollector as refused:
            self._failed(f"refuses spans: {refused}")
            self._metrics.spans_dropped.inc(len(batch))
        else:
            self._is_away = False
            self._metrics.spans_exported.inc(len(batch))
        # None of them is queued any more when there was no more time for the last ones.
        for _ in range(min(len(batch), len(self._queue))):
            self._queue.popleft()
        return True

    def _failed(self, problem: str) -> None:
        self._metrics.export_failures.inc()
        if not self._is_away:
            self._is_away = True
            _log.warning("the OpenTelemetry collector %s", problem)
