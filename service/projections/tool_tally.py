"""What a tool did in a stretch of time, added up: counts, failures by reason, and how long it took and waited.

Invariant: tallies of stretches that follow each other add up to the tally of the whole.
"""

from __future__ import annotations

from typing import Any

import orjson

from podium.v1 import monitoring_service_pb2 as pb
from service.projections.sketch import Sketch

REASONS_MAX = 50
"""By so many reasons failures are told apart in a stretch, because a tool may give whatever reason it likes."""
OTHER_REASONS = "OTHER_REASONS"
"""What the failures for all further reasons are counted under."""

_PERCENTS = (50, 90, 99)


class ToolTally:
    """The sums of a tool."""

    __slots__ = ("counts", "errors", "latency", "queue_time")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """By the names of the fields of ToolStatistics."""
        self.errors: dict[str, int] = {}
        """Attempts that failed, by reason."""
        self.latency = Sketch()
        self.queue_time = Sketch()

    def count(self, what: str) -> None:
        """Count one more."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def count_error(self, reason: str, number: int = 1) -> None:
        """Count attempts that failed for a reason."""
        if reason not in self.errors and len(self.errors) >= REASONS_MAX:
            reason = OTHER_REASONS
        self.errors[reason] = self.errors.get(reason, 0) + number

    def merge(self, other: ToolTally) -> None:
        """Add what another has counted."""
        for what, number in other.counts.items():
            self.counts[what] = self.counts.get(what, 0) + number
        for reason, number in other.errors.items():
            self.count_error(reason, number)
        self.latency.merge(other.latency)
        self.queue_time.merge(other.queue_time)

    def to_bytes(self) -> bytes:
        """The tally as it is stored."""
        return orjson.dumps([self.counts, self.errors, self.latency.numbers(), self.queue_time.numbers()])

    @classmethod
    def from_bytes(cls, stored: bytes) -> ToolTally:
        """The tally that was stored so."""
        tally = cls()
        tally.counts, tally.errors, latency, queue_time = orjson.loads(stored)
        tally.latency, tally.queue_time = Sketch.from_numbers(latency), Sketch.from_numbers(queue_time)
        return tally

    def message(self, tool: str) -> pb.ToolStatistics:
        """The tally as the contract tells it, the most frequent errors first."""
        counts: dict[str, Any] = self.counts
        by_count = sorted(self.errors.items(), key=lambda error: (-error[1], error[0]))
        return pb.ToolStatistics(
            tool=tool,
            errors=[pb.ReasonCount(reason=reason, count=count) for reason, count in by_count],
            latency=_latency(self.latency),
            queue_time=_latency(self.queue_time),
            **counts,
        )


def _latency(sketch: Sketch) -> pb.Latency:
    p50, p90, p99 = sketch.percentiles(_PERCENTS)
    return pb.Latency(
        count=sketch.count, mean_us=sketch.mean_us, p50_us=p50, p90_us=p90, p99_us=p99, max_us=sketch.longest_us
    )
