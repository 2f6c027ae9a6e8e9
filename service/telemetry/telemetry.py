"""Traces and metrics put together, for a service whose settings ask for them. Others do not import this."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from service.settings.listening import Listening
from service.settings.telemetry import TelemetrySettings
from service.telemetry.collector import Collector
from service.telemetry.endpoint import Endpoint
from service.telemetry.event_counts import EventCounts
from service.telemetry.figures import show
from service.telemetry.follower import Follower
from service.telemetry.metric_export import MetricExport
from service.telemetry.metrics import Metrics
from service.telemetry.span_export import LAST_S, SpanExport
from service.telemetry.spans import Spans
from service.telemetry.switch import Observed
from service.telemetry.trails import Trails
from store.contract import Clock

_log = logging.getLogger(__name__)

_FOLLOWING_PART = 0.6
"""What part of the last time the log may take; the rest is for sending."""


class Telemetry:
    """What a service tells of itself."""

    def __init__(
        self,
        settings: TelemetrySettings,
        listening: Listening,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, object]], None],
    ) -> None:
        """Takes the address of the metrics, so that a service that cannot have it does not start.

        Raises MetricsUnavailable.
        """
        self._settings = settings
        self._clock = clock
        self._spawn = spawn
        self.metrics = Metrics()
        self._endpoint = Endpoint(settings, listening, self.metrics.registry) if settings.metrics_address else None

    def start(self, stack: AsyncExitStack, observed: Observed) -> None:
        """Tell of a service that is put together; until the stack closes."""
        settings = self._settings
        export = self._export(stack) if settings.otlp_endpoint else None
        spans = Spans(export.offer) if export is not None else None
        counts = EventCounts(self.metrics, settings.metrics_tools_max)
        trails = Trails(observed.store, settings.trace_ratio, observed.resident_limit)
        follower = Follower(observed.store, self.metrics, counts, trails, spans)
        show(self.metrics, observed, follower, counts, self._clock, pools_max=settings.metrics_tools_max)
        self._spawn(follower.run())
        if export is not None:
            stack.push_async_callback(_finish, follower, export)
        if self._endpoint is not None:
            stack.push_async_callback(self._endpoint.close)
            self._endpoint.start()
            _log.info("metrics are served on port %d", self._endpoint.port)

    def _export(self, stack: AsyncExitStack) -> SpanExport:
        settings = self._settings
        headers = (header.partition("=") for header in settings.otlp_headers)
        collector = Collector(
            settings.otlp_endpoint,
            {name.strip(): value.strip() for name, _, value in headers},
            settings.otlp_timeout_ms / 1000,
        )
        name = common_pb2.AnyValue(string_value=settings.otlp_service_name)
        resource = resource_pb2.Resource(attributes=[common_pb2.KeyValue(key="service.name", value=name)])
        export = SpanExport(collector, resource, self.metrics)
        stack.callback(collector.close)
        interval_s = settings.otlp_metrics_interval_ms / 1000
        self._spawn(export.run())
        self._spawn(MetricExport(collector, resource, self.metrics, self._clock, interval_s).run())
        return export


async def _finish(follower: Follower, export: SpanExport) -> None:
    """Tell the collector the last: what was recorded and is not in the figures yet, and the spans that wait."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + LAST_S
    await follower.finish(LAST_S * _FOLLOWING_PART)
    await export.finish(max(0.0, ends_at - loop.time()))
