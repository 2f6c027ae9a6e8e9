"""Metrics by tool whose values are in the process's memory: read when they are asked for, from whatever thread that is.

Invariant: a metric has no more series than its labels allow; the figures of all other tools are one sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.telemetry.labels import ToolLabels

TOOL = ("tenant", "tool")

Figures = Iterable[tuple[str, str, float]]
"""(tenant, tool, value) of each tool there is."""


class ByTool(Collector):
    """A metric by tenant and tool."""

    labelnames = TOOL

    def __init__(
        self,
        family: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        what: str,
        registry: CollectorRegistry,
    ) -> None:
        self._family = family
        self._name = name
        self._what = what
        self._read: Callable[[], Figures] = tuple
        self._labels = ToolLabels(tools_max=0)
        registry.register(self)

    def show(self, read: Callable[[], Figures], labels: ToolLabels) -> None:
        """Read the figures with `read`, which may be called by any thread, under bounded labels."""
        self._read, self._labels = read, labels

    def describe(self) -> Iterator[Metric]:
        """The metric without its values."""
        yield self._family(self._name, self._what, labels=TOOL)

    def collect(self) -> Iterator[Metric]:
        """The metric as it is now."""
        sums: dict[tuple[str, str], float] = {}
        for tenant, tool, value in self._read():
            labels = self._labels.of(tenant, tool)
            sums[labels] = sums.get(labels, 0) + value
        metric = self._family(self._name, self._what, labels=TOOL)
        for labels, total in sums.items():
            metric.add_metric(labels, total)
        yield metric
