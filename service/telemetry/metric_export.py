"""Sends the metrics that Prometheus would collect to the OpenTelemetry collector: the same names, labels and values."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from service.telemetry.collector import RefusedByCollector, Unreachable
from service.telemetry.metrics import Metrics
from service.telemetry.span_export import Sending
from store.contract import Clock

METRICS_PATH = "/v1/metrics"
_NS_PER_US = 1000
_CUMULATIVE = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE


class MetricExport:
    """Sends all metrics every so often. What was not taken is told by the next, because the counters go on."""

    def __init__(
        self,
        collector: Sending,
        resource: resource_pb2.Resource,
        metrics: Metrics,
        clock: Clock,
        interval_s: float,
    ) -> None:
        self._collector = collector
        self._resource = resource
        self._metrics = metrics
        self._clock = clock
        self._interval_s = interval_s
        self._began_us = clock.now_us()

    async def run(self) -> None:
        """Send, until it is cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.send()

    async def send(self) -> None:
        """Send what they are now."""
        request = metrics_service_pb2.ExportMetricsServiceRequest()
        scope = request.resource_metrics.add(resource=self._resource).scope_metrics.add()
        scope.scope.name = "podium"
        scope.metrics.extend(otlp_metrics(self._metrics.registry, self._began_us, self._clock.now_us()))
        try:
            await self._collector.send(METRICS_PATH, request)
        except (Unreachable, RefusedByCollector):
            self._metrics.export_failures.inc()


def otlp_metrics(registry: CollectorRegistry, began_us: int, now_us: int) -> Iterator[metrics_pb2.Metric]:
    """The metrics of a registry in OpenTelemetry's form. Times are microseconds since the Unix epoch."""
    times = (began_us * _NS_PER_US, now_us * _NS_PER_US)
    for family in registry.collect():
        metric = metrics_pb2.Metric(name=family.name, description=family.documentation)
        if family.type == "histogram":
            metric.histogram.aggregation_temporality = _CUMULATIVE
            metric.histogram.data_points.extend(_histogram_points(family, times))
        elif family.type == "counter":
            metric.sum.aggregation_temporality = _CUMULATIVE
            metric.sum.is_monotonic = True
            metric.sum.data_points.extend(_point(sample, times) for sample in family.samples)
        else:
            metric.gauge.data_points.extend(_point(sample, times) for sample in family.samples)
        yield metric


def _point(sample: Sample, times: tuple[int, int]) -> metrics_pb2.NumberDataPoint:
    return metrics_pb2.NumberDataPoint(
        attributes=_attributes(sample.labels),
        start_time_unix_nano=times[0],
        time_unix_nano=times[1],
        as_double=float(sample.value),
    )


def _histogram_points(family: Metric, times: tuple[int, int]) -> Iterator[metrics_pb2.HistogramDataPoint]:
    """A point for each set of labels: Prometheus' buckets hold all below them, OpenTelemetry's their own."""
    points: dict[tuple[tuple[str, str], ...], metrics_pb2.HistogramDataPoint] = {}
    below: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        key = tuple(labels.items())
        point = points.get(key)
        if point is None:
            point = points[key] = metrics_pb2.HistogramDataPoint(
                attributes=_attributes(labels), start_time_unix_nano=times[0], time_unix_nano=times[1]
            )
        if sample.name.endswith("_bucket"):
            point.bucket_counts.append(int(sample.value - below.get(key, 0)))
            below[key] = sample.value
            if sample.labels["le"] != "+Inf":
                point.explicit_bounds.append(float(sample.labels["le"]))
        elif sample.name.endswith("_count"):
            point.count = int(sample.value)
        else:
            point.sum = sample.value
    yield from points.values()


def _attributes(labels: dict[str, str]) -> list[common_pb2.KeyValue]:
    return [common_pb2.KeyValue(key=k, value=common_pb2.AnyValue(string_value=v)) for k, v in labels.items()]
