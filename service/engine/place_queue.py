"""The queue of those who wait for a place with one version of a tool: a line for each rank of priority."""

from __future__ import annotations

from collections import OrderedDict

from service.domain.priorities import RANKS
from service.engine.keys import StepKey, ToolVersion


class PlaceQueue:
    """Steps in the order in which they came, by rank."""

    __slots__ = ("_lines", "tool")

    def __init__(self, tool: ToolVersion) -> None:
        self.tool = tool
        self._lines: tuple[OrderedDict[StepKey, int], ...] = tuple(OrderedDict() for _ in range(RANKS))
        """Of each rank: the number of each arrival, in their order."""

    def __bool__(self) -> bool:
        return any(self._lines)

    def join(self, key: StepKey, rank: int, arrival: int) -> None:
        """A step waits; whoever comes later has a larger number."""
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

    def first_arrival(self, rank: int) -> int:
        """The number of who has waited longest in a rank; somebody must."""
        return next(iter(self._lines[rank].values()))

    def take(self, rank: int) -> StepKey:
        """Take out who has waited longest in a rank; somebody must."""
        return self._lines[rank].popitem(last=False)[0]
