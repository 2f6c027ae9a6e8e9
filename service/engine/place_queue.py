"""The queue of those who wait for a place with one version of a tool: a line for each rank of priority."""

from __future__ import annotations

from collections import OrderedDict
from operator import itemgetter

from service.domain.priorities import RANKS
from service.engine.keys import StepKey, ToolVersion

Arrival = tuple[int, int]
"""When a step came to wait: the position in the log, and a number that tells apart who has the same."""


class PlaceQueue:
    """Steps in the order in which they came, by rank."""

    __slots__ = ("_latest", "_lines", "_unordered", "tool")

    def __init__(self, tool: ToolVersion) -> None:
        self.tool = tool
        self._lines: list[OrderedDict[StepKey, Arrival]] = [OrderedDict() for _ in range(RANKS)]
        """Of each rank: the arrivals, in their order unless the rank is unordered."""
        self._latest: list[Arrival] = [(0, 0)] * RANKS
        self._unordered = [False] * RANKS

    def __bool__(self) -> bool:
        return any(self._lines)

    def join(self, key: StepKey, rank: int, arrival: Arrival) -> None:
        """A step waits. One that has waited already, before a restart, comes after others that came later."""
        if arrival < self._latest[rank]:
            self._unordered[rank] = True
        else:
            self._latest[rank] = arrival
        self._lines[rank][key] = arrival

    def leave(self, key: StepKey) -> None:
        """A step does not wait any more."""
        for line in self._lines:
            line.pop(key, None)

    def waiting(self) -> list[bool]:
        """Of each rank, whether anybody waits in it."""
        return [*map(bool, self._lines)]

    def waits(self, rank: int) -> bool:
        """Whether anybody waits in a rank."""
        return bool(self._lines[rank])

    def first_arrival(self, rank: int) -> Arrival:
        """When who has waited longest in a rank came; somebody must."""
        if self._unordered[rank]:
            self._put_in_order(rank)
        return next(iter(self._lines[rank].values()))

    def take(self, rank: int) -> StepKey:
        """Take out who has waited longest in a rank; somebody must."""
        if self._unordered[rank]:
            self._put_in_order(rank)
        return self._lines[rank].popitem(last=False)[0]

    def _put_in_order(self, rank: int) -> None:
        # Not for each that joins: a restart finds all who wait before the first of them is taken.
        self._unordered[rank] = False
        self._lines[rank] = OrderedDict(sorted(self._lines[rank].items(), key=itemgetter(1)))
