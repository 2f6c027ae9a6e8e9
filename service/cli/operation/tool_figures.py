"""What is told of a tool in a time: the figures that `podium stats` and `podium top` show, and how they are read.

Invariant: every count is the one that the service answered; only rates and parts are computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.v1 import monitoring_service_pb2 as pb
    from service.cli.connecting import Service

_COUNTS = (
    "succeeded",
    "failed",
    "denied",
    "attempts",
    "cache_hits",
    "cache_stale",
    "breaker_rejected",
    "breaker_opened",
    "bulkhead_rejected",
    "rate_limited",
    "degraded",
    "abandoned",
)
_PAGE_SIZE = 1000
_PERCENTILES = ("mean_us", "p50_us", "p90_us", "p99_us", "max_us")


@dataclass(frozen=True, slots=True)
class ToolFigures:
    """A tool in a time."""

    statistics: pb.ToolStatistics
    seconds: float
    """How long the time was."""
    breaker: str = ""
    """The state of its breaker; empty: not known."""
    trend: Sequence[int] = field(default=())
    """Calls in each stretch of the time."""

    @property
    def tool(self) -> str:
        """Its name."""
        return self.statistics.tool

    @property
    def calls(self) -> int:
        """How often steps and direct calls were done with it."""
        return calls_of(self.statistics)

    @property
    def calls_per_s(self) -> float:
        """How often in a second."""
        return self.calls / self.seconds if self.seconds else 0.0

    @property
    def errors(self) -> int:
        """Attempts that failed."""
        return sum(error.count for error in self.statistics.errors)

    @property
    def errors_percent(self) -> float:
        """Of the attempts that ended, those that failed."""
        return _percent(self.errors, self.statistics.latency.count)

    @property
    def cache_percent(self) -> float:
        """Of the calls that were not denied, those that were answered from the cache."""
        statistics = self.statistics
        return _percent(statistics.cache_hits, statistics.succeeded + statistics.failed)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        statistics = self.statistics
        return {
            "tool": self.tool,
            "calls": self.calls,
            "calls_per_s": round(self.calls_per_s, 3),
            "errors_percent": round(self.errors_percent, 2),
            "cache_percent": round(self.cache_percent, 2),
            **{name: getattr(statistics, name) for name in _COUNTS},
            "errors": {error.reason: error.count for error in statistics.errors},
            "latency": _latency(statistics.latency),
            "queue_time": _latency(statistics.queue_time),
            "breaker": self.breaker or None,
            "trend": [*self.trend],
        }


def calls_of(statistics: pb.ToolStatistics) -> int:
    """Return how often steps and direct calls were done with the tool."""
    return statistics.succeeded + statistics.failed + statistics.denied


def figures_of(
    answer: pb.GetToolStatisticsResponse, now_us: int, breakers: Mapping[str, str] | None = None
) -> list[ToolFigures]:
    """Return the figures of each tool in an answer, by name. The time that has not passed yet is not counted."""
    total = answer.total
    seconds = max(0, min(now_us, total.to_us) - total.from_us) / 1e6
    calls = [{tool.tool: calls_of(tool) for tool in bucket.tools} for bucket in answer.buckets]
    states = breakers or {}
    return [
        ToolFigures(tool, seconds, states.get(tool.tool, ""), [each.get(tool.tool, 0) for each in calls])
        for tool in total.tools
    ]


async def read_statistics(service: Service, request: pb.GetToolStatisticsRequest) -> pb.GetToolStatisticsResponse:
    """Ask the service. Raises podium.PodiumError."""
    from podium.v1 import monitoring_service_pb2_grpc

    stub = monitoring_service_pb2_grpc.MonitoringServiceStub(service.connection.channel)
    return await service.connection.call(stub.GetToolStatistics, request)


async def read_breakers(service: Service) -> dict[str, str] | None:
    """Return the state of each breaker by its tool; None when the caller may not know. Raises podium.PodiumError."""
    from podium import PermissionDenied
    from podium.v1 import events_pb2, resilience_service_pb2, resilience_service_pb2_grpc

    stub = resilience_service_pb2_grpc.ResilienceServiceStub(service.connection.channel)
    request = resilience_service_pb2.ListBreakersRequest(page_size=_PAGE_SIZE)
    found: dict[str, str] = {}
    while True:
        try:
            page = await service.connection.call(stub.ListBreakers, request)
        except PermissionDenied:
            return None
        for breaker in page.breakers:
            name = events_pb2.BreakerState.Name(breaker.state)
            found[breaker.tool] = name.removeprefix("BREAKER_STATE_").lower().replace("_", " ")
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def short_time(microseconds: float) -> str:
    """Return how long something took, in the unit that fits: 850 µs, 12.3 ms, 1.25 s; empty for nothing."""
    from service.cli.output import can_print
    from service.cli.terminal_text import duration

    if not microseconds:
        return ""
    if microseconds < 1000:  # noqa: PLR2004 -- a millisecond
        return f"{microseconds:.0f} {'µs' if can_print('µ') else 'us'}"
    if microseconds < 999_500:  # noqa: PLR2004 -- more is a second, to three digits
        return f"{microseconds / 1000:.3g} ms"
    return duration(round(microseconds))


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _latency(latency: pb.Latency) -> dict[str, Any]:
    return {"count": latency.count, **{name: round(getattr(latency, name), 1) for name in _PERCENTILES}}
