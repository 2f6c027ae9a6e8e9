"""The generic cell rate algorithm: how often something may happen, in one whole number a key.

The number is the theoretical arrival time: when the key will have been silent for long enough to have its whole burst
again. Source: ITU-T Recommendation I.371, the virtual scheduling algorithm of its annex A. Its times are in ticks, of
which a microsecond has as many as the period has events: the interval between two events is then a whole number of
ticks (the period's microseconds), and nothing is ever rounded in anybody's favour.
"""

from __future__ import annotations

from typing import NamedTuple


class Rate(NamedTuple):
    """So many events in a period, and how many of them may come at once."""

    events: int
    period_us: int
    burst: int

    @property
    def burst_ticks(self) -> int:
        """How long it takes until a whole burst is there again."""
        return self.burst * self.period_us


def allowed_at_us(rate: Rate, arrival_ticks: int, weight: int) -> int:
    """The earliest time, microseconds since the Unix epoch, at which an event of this weight may happen.

    One that weighs more than the burst may happen once the whole burst is there; what is over is owed afterwards.
    """
    earliest_ticks = arrival_ticks - rate.burst_ticks + min(weight, rate.burst) * rate.period_us
    return -(-earliest_ticks // rate.events)


def after_event(rate: Rate, arrival_ticks: int, weight: int, now_us: int) -> int:
    """The theoretical arrival time after an event of this weight, in ticks."""
    return max(arrival_ticks, now_us * rate.events) + weight * rate.period_us


def used_up(rate: Rate, now_us: int) -> int:
    """The theoretical arrival time of a key of which nothing is known but that its burst was used by now, in ticks."""
    return now_us * rate.events + rate.burst_ticks


def is_fresh(rate: Rate, arrival_ticks: int, now_us: int) -> bool:
    """Whether the whole burst is there, so that nothing needs to be remembered of the key."""
    return arrival_ticks <= now_us * rate.events
