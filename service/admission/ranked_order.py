"""Steps in the order in which they have their turn: by rank, and within a rank by ticket.

Invariant: nobody waits for ever; a rank that was passed over too often has its turn (see service.domain.priorities).
"""

from __future__ import annotations

from heapq import heappop, heappush

from service.admission.verdicts import Step
from service.domain.priorities import RANKS, Turns


class RankedOrder:
    """Those who stand in a line."""

    def __init__(self) -> None:
        self._heaps: tuple[list[tuple[int, Step]], ...] = tuple([] for _ in range(RANKS))
        """By rank: tickets and steps. Those who left are passed over when they come to the front."""
        self._waiting: set[Step] = set()
        self._turns = Turns()

    def __contains__(self, step: Step) -> bool:
        return step in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, step: Step, rank: int, ticket: int) -> None:
        """A step stands before all of its rank that have a later ticket. Adding it twice changes nothing."""
        if step not in self._waiting:
            self._waiting.add(step)
            heappush(self._heaps[rank], (ticket, step))

    def discard(self, step: Step) -> None:
        """A step stands here no more."""
        self._waiting.discard(step)
        if not self._waiting:
            for heap in self._heaps:
                heap.clear()

    def take(self) -> Step:
        """Take out the step whose turn it is. Somebody must stand here."""
        rank = self._turns.next([self._has_first(heap) for heap in self._heaps])
        _, step = heappop(self._heaps[rank])
        self.discard(step)
        return step

    def _has_first(self, heap: list[tuple[int, Step]]) -> bool:
        """Whether anybody of a rank stands here, who is then the first of its heap."""
        while heap and heap[0][1] not in self._waiting:
            heappop(heap)
        return bool(heap)
