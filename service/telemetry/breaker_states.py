"""In which state the breaker of each tool is, read from the breakers when the metrics are.

Invariant: it tells what `podium breakers list` does. The log cannot: a breaker whose rule is gone has no transition
before its tool is called again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from podium.v1 import events_pb2 as e
from service.telemetry.by_tool import TOOL
from service.telemetry.labels import ToolLabels

LABELS = (*TOOL, "state")

States = Iterable[tuple[str, str, int]]
"""(tenant, tool, state) of each breaker there is."""


class BreakerStates(Collector):
    """A gauge with a series for each state of a breaker, of which one is 1."""

    labelnames = LABELS

    def __init__(self, registry: CollectorRegistry) -> None:
        self._read: Callable[[], States] = tuple
        self._labels = ToolLabels(tools_max=0)
        registry.register(self)

    def show(self, read: Callable[[], States], labels: ToolLabels) -> None:
        """Read the states with `read`, which may be called by any thread, under bounded labels."""
        self._read, self._labels = read, labels

    def describe(self) -> Iterator[Metric]:
        """The metric without its values."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """The metric as it is now. Of tools that share a label each state is 1 that one of them is in."""
        found: dict[tuple[str, str], set[int]] = {}
        for tenant, tool, state in self._read():
            found.setdefault(self._labels.of(tenant, tool), set()).add(state)
        metric = self._family()
        for labels, states in found.items():
            for state in filter(None, e.BreakerState.values()):
                metric.add_metric((*labels, state_name(state)), float(state in states))
        yield metric

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily("podium_breaker_state", "1 for the state that a breaker is in.", labels=LABELS)


def state_name(state: int) -> str:
    """What a state is called in a label."""
    return e.BreakerState.Name(e.BreakerState.ValueType(state)).removeprefix("BREAKER_STATE_").lower()
