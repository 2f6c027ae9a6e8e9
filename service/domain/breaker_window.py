"""Windows over the outcomes of calls: the last so many, or those of the last so many seconds.

Invariant: what a window sums up is what it holds, and it never holds more than its size: so many calls, or a bucket for
each of so many seconds.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

_FAILED, _SLOW = 1, 2
_US_PER_S = 1_000_000


class Counts(NamedTuple):
    """What a window holds."""

    calls: int = 0
    failed: int = 0
    slow: int = 0

    def rate(self, part: int, minimum_calls: int) -> float:
        """How much of the calls a part of them is, in percent; negative: they are too few to say."""
        return 100 * part / self.calls if self.calls and self.calls >= minimum_calls else -1.0


class Window(Protocol):
    """Outcomes that count."""

    def record(self, *, failed: bool, slow: bool, now_us: int) -> None:
        """Count a call that ended."""

    def counts(self, now_us: int) -> Counts:
        """What it holds now."""


class CountWindow:
    """The last `size` calls, in a ring."""

    __slots__ = ("_failed", "_next", "_ring", "_slow", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._ring = bytearray()
        self._next = 0
        self._failed = 0
        self._slow = 0

    def record(self, *, failed: bool, slow: bool, now_us: int = 0) -> None:
        """See Window."""
        del now_us
        self._add(failed * _FAILED | slow * _SLOW)

    def _add(self, call: int) -> None:
        if len(self._ring) < self.size:
            self._ring.append(call)
        else:
            forgotten, self._ring[self._next] = self._ring[self._next], call
            self._failed -= forgotten & _FAILED
            self._slow -= (forgotten & _SLOW) >> 1
        self._next = (self._next + 1) % self.size
        self._failed += call & _FAILED
        self._slow += (call & _SLOW) >> 1

    def counts(self, now_us: int = 0) -> Counts:
        """See Window."""
        del now_us
        return Counts(len(self._ring), self._failed, self._slow)

    def resized(self, size: int) -> CountWindow:
        """A window of another size with as many of the last calls as it can hold."""
        other = CountWindow(size)
        begins = self._next if len(self._ring) == self.size else 0
        for call in (self._ring[begins:] + self._ring[:begins])[-size:]:
            other._add(call)
        return other


class _Second:
    """The calls that ended in one second."""

    __slots__ = ("calls", "failed", "second", "slow")

    def __init__(self, second: int) -> None:
        self.second = second
        self.calls = 0
        self.failed = 0
        self.slow = 0


class TimeWindow:
    """The calls of the last `size` seconds, of which the one that has begun is one.

    A second in which nothing ended has no bucket. Time that goes back is taken to stand still.
    """

    __slots__ = ("_calls", "_failed", "_seconds", "_slow", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._seconds: deque[_Second] = deque()
        self._calls = 0
        self._failed = 0
        self._slow = 0

    def record(self, *, failed: bool, slow: bool, now_us: int) -> None:
        """See Window."""
        self._forget(now_us)
        second = now_us // _US_PER_S
        if not self._seconds or self._seconds[-1].second < second:
            self._seconds.append(_Second(second))
        bucket = self._seconds[-1]
        bucket.calls += 1
        bucket.failed += failed
        bucket.slow += slow
        self._calls += 1
        self._failed += failed
        self._slow += slow

    def counts(self, now_us: int) -> Counts:
        """See Window."""
        self._forget(now_us)
        return Counts(self._calls, self._failed, self._slow)

    def resized(self, size: int) -> TimeWindow:
        """A window of another size with what it can hold of this one."""
        self.size = size
        return self

    def _forget(self, now_us: int) -> None:
        gone = now_us // _US_PER_S - self.size
        while self._seconds and self._seconds[0].second <= gone:
            bucket = self._seconds.popleft()
            self._calls -= bucket.calls
            self._failed -= bucket.failed
            self._slow -= bucket.slow
