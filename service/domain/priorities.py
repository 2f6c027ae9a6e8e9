"""Who goes first when there is too much: high before normal before low, and nobody waits for ever.

Invariant: a rank in which somebody waits is passed over by those above it at most PATIENCE times, and then has its
turn: of PATIENCE + 2 turns each has one.
"""

from __future__ import annotations

from collections.abc import Sequence

from podium.v1 import definition_pb2

RANKS = 3
"""High, normal and low, in this order."""
PATIENCE = 16
_RANK_OF = {definition_pb2.PRIORITY_HIGH: 0, definition_pb2.PRIORITY_LOW: 2}
_NORMAL = 1


def rank_of(priority: int) -> int:
    """The rank of a priority, from 0, which goes first. Unset is normal."""
    return _RANK_OF.get(priority, _NORMAL)  # type: ignore[call-overload,no-any-return]  # the stubs want their NewType


class Turns:
    """Says whose turn it is among the ranks of which somebody waits."""

    __slots__ = ("_passed_over",)

    def __init__(self) -> None:
        self._passed_over = [0] * RANKS
        """How often each rank waited while one above it had its turn, since its own last."""

    def next(self, waiting: Sequence[bool]) -> int:
        """The rank that goes next. `waiting` tells of each rank whether anybody waits in it; somebody must."""
        passed_over = self._passed_over
        chosen = waiting.index(True)
        for rank in range(chosen + 1, RANKS):
            # Of two that have run out of patience the lower one goes first: it was passed over by both.
            if waiting[rank] and passed_over[rank] >= PATIENCE:
                chosen = rank
        for rank in range(RANKS):
            if not waiting[rank] or rank == chosen:
                passed_over[rank] = 0
            elif rank > chosen:
                passed_over[rank] += 1
        return chosen
