"""The pools of connections of executors, as these told of them when they were last asked about their tools.

Invariant: there are no more series than are allowed, whatever executors and pools are called, and none of an executor
that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from podium.v1 import executor_service_pb2 as wire
from service.telemetry.labels import OTHER

LABELS = ("tenant", "executor", "pool")
_SINCE = "since the pool was made"
_WHAT = {
    "size": "Connections that a pool of an executor has at most.",
    "in_use": "Connections of it that were in use.",
    "waited": f"Uses that found all of them taken, {_SINCE}.",
    "opened": f"Connections that were made, {_SINCE}.",
    "reused": f"Uses of a connection that was there, {_SINCE}.",
}
"""Gauges all of them: the sum over executors of one name falls when one of them leaves."""

Pools = Iterable[tuple[tuple[str, str, str], wire.PoolFigures]]
"""((tenant, executor, pool), figures) of each session; several of one name are added up."""


class PoolMetrics(Collector):
    """A gauge for each figure of a pool."""

    labelnames = LABELS

    def __init__(self, registry: CollectorRegistry) -> None:
        self._read: Callable[[], Pools] = tuple
        self._max = 0
        registry.register(self)

    def show(self, read: Callable[[], Pools], pools_max: int) -> None:
        """Read the figures with `read`, which may be called by any thread; of so many pools, the rest together."""
        self._read, self._max = read, pools_max

    def describe(self) -> Iterator[Metric]:
        """The metrics without their values."""
        yield from self._families().values()

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        sums: dict[tuple[str, ...], dict[str, int]] = {}
        for pool, figures in self._read():
            labels = pool if pool in sums or len(sums) < self._max else (OTHER,) * len(LABELS)
            of = sums.setdefault(labels, dict.fromkeys(_WHAT, 0))
            for figure in _WHAT:
                of[figure] += getattr(figures, figure)
        families = self._families()
        for labels, of in sums.items():
            for figure, value in of.items():
                families[figure].add_metric(labels, value)
        yield from families.values()

    @staticmethod
    def _families() -> dict[str, GaugeMetricFamily]:
        return {
            figure: GaugeMetricFamily(f"podium_executor_pool_{figure}", what, labels=LABELS)
            for figure, what in _WHAT.items()
        }
