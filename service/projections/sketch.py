"""A sketch of how long things took: quantiles to one percent, whatever the shape, and two sketches add up to one.

The DDSketch of Masson, Rim and Lee (VLDB 2019): a value is counted in the bucket of its logarithm, and each bucket is
as wide as the relative error allows. Values are whole microseconds up to LONGEST_US, so that there are at most
BUCKETS_MAX buckets, and none has ever to be given up for another.

Invariant: a quantile is within RELATIVE_ERROR of the value that stands there among all that were added, in whatever
order and in however many sketches that were merged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

RELATIVE_ERROR = 0.01
LONGEST_US = 1 << 42
"""What took longer, 50 days, is counted as this."""

_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_BUCKETS_PER_E = 1 / math.log(_GAMMA)
_NOTHING = -1
"""The bucket of what took no microsecond."""
BUCKETS_MAX = math.ceil(math.log(LONGEST_US) * _BUCKETS_PER_E) + 2


class Sketch:
    """How long some things took, in microseconds."""

    __slots__ = ("buckets", "count", "longest_us", "total_us")

    def __init__(self) -> None:
        self.count = 0
        self.total_us = 0
        self.longest_us = 0
        self.buckets: dict[int, int] = {}
        """How many there are, by the bucket."""

    def add(self, taken_us: int) -> None:
        """Count one."""
        taken_us = min(max(taken_us, 0), LONGEST_US)
        bucket = math.ceil(math.log(taken_us) * _BUCKETS_PER_E) if taken_us else _NOTHING
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1
        self.total_us += taken_us
        self.longest_us = max(self.longest_us, taken_us)

    def merge(self, other: Sketch) -> None:
        """Count all that another has counted."""
        self.count += other.count
        self.total_us += other.total_us
        self.longest_us = max(self.longest_us, other.longest_us)
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    @property
    def mean_us(self) -> float:
        """Their mean; 0 when there are none."""
        return self.total_us / self.count if self.count else 0.0

    def percentiles(self, percents: Sequence[int]) -> list[float]:
        """What so many percent took at most, for percents in ascending order; 0 when nothing was counted.

        That is the value at the place ceil(percent × count / 100) of all in their order.
        """
        if not self.count:
            return [0.0] * len(percents)
        found: list[float] = []
        wanted = [-(-self.count * percent // 100) for percent in percents]
        passed = 0
        for bucket in sorted(self.buckets):
            passed += self.buckets[bucket]
            while len(found) < len(wanted) and passed >= wanted[len(found)]:
                found.append(min(_middle_us(bucket), float(self.longest_us)))
        return found

    def numbers(self) -> list[int]:
        """The sketch as numbers, for `from_numbers`: empty for one without anything in it."""
        if not self.count:
            return []
        return [self.total_us, self.longest_us, *chain.from_iterable(sorted(self.buckets.items()))]

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> Sketch:
        """The sketch that these are the numbers of."""
        sketch = cls()
        if numbers:
            sketch.total_us, sketch.longest_us = numbers[:2]
            sketch.buckets = dict(zip(numbers[2::2], numbers[3::2], strict=True))
            sketch.count = sum(numbers[3::2])
        return sketch


def _middle_us(bucket: int) -> float:
    """The value that is equally far, in relation, from both ends of the bucket."""
    return 0.0 if bucket == _NOTHING else 2 * _GAMMA**bucket / (_GAMMA + 1)
