"""The line of steps that wait for a permit of a bulkhead: by priority, and in the order in which they came.

A permit that comes back wakes one step. Until that step has started or waits again the permit is put by for it, for a
moment at most: a step that then finds no place on an executor must not keep others from theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from service.admission.ranked_order import RankedOrder
from service.admission.verdicts import LOOK_AGAIN_US, Step

PUT_BY_US = 250_000
"""How long a permit is put by for a step that was woken."""
ToolKey = tuple[str, str]
"""(tenant, tool)."""


class Permits(Protocol):
    """Who gives out the permits."""

    def free(self, key: ToolKey) -> int | None:
        """How many permits of a tool are not out; None: there is no bound."""

    def forget(self, line: BulkheadLine) -> None:
        """Nobody stands in a line any more."""


class BulkheadLine:
    """Steps that wait for one tool of a tenant."""

    def __init__(self, key: ToolKey, permits: Permits) -> None:
        self.key = key
        self._permits = permits
        self._waiting = RankedOrder()
        self._put_by: OrderedDict[Step, int] = OrderedDict()
        """Of the steps that were woken: until when a permit is theirs."""
        self._look: Callable[[], None] | None = None

    def __contains__(self, step: Step) -> bool:
        return step in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def on_stir(self, look: Callable[[], None]) -> None:
        """See Stirring."""
        self._look = look

    def stir(self) -> None:
        """There may be a permit for somebody."""
        if self._look is not None and self._waiting and self._has_permit():
            self._look()

    def may_start(self, step: Step, free: int, now_us: int, *, has_waited: bool) -> bool:
        """Whether a step may have one of the permits that are free: one put by for it, or one that is nobody's.

        Nobody who comes anew overtakes the line; one that `has_waited` elsewhere, with a place found at last, may.
        """
        self._end_overdue(now_us)
        if step in self._put_by:
            return free > 0
        if step in self._waiting or (self._waiting and not has_waited):
            return False
        return free > len(self._put_by)

    def join(self, step: Step, rank: int, ticket: int) -> None:
        """A step waits, before all of its rank that came later. Joining twice changes nothing."""
        self._put_by.pop(step, None)
        self._waiting.add(step, rank, ticket)

    def leave(self, step: Step) -> None:
        """A step started or ended."""
        was_put_by = self._put_by.pop(step, None) is not None
        self.move_away(step)
        if was_put_by:
            # If it has not started, its permit is another's.
            self.stir()

    def move_away(self, step: Step) -> None:
        """A step waits in another line."""
        self._waiting.discard(step)
        self._settle()

    def let_through(self, now_us: int) -> tuple[list[Step], int | None]:
        """Take out as many as there are permits for, and tell when to look again; None: nobody is left."""
        self._end_overdue(now_us)
        through: list[Step] = []
        while self._waiting and self._has_permit():
            step = self._waiting.take()
            self._put_by[step] = now_us + PUT_BY_US
            through.append(step)
        if not self._waiting:
            return through, None
        return through, next(iter(self._put_by.values()), now_us + LOOK_AGAIN_US)

    def _has_permit(self) -> bool:
        free = self._permits.free(self.key)
        return free is None or free > len(self._put_by)

    def _end_overdue(self, now_us: int) -> None:
        while self._put_by and next(iter(self._put_by.values())) <= now_us:
            self._put_by.popitem(last=False)

    def _settle(self) -> None:
        if not self._waiting and not self._put_by:
            self._permits.forget(self)
