"""The line of steps that wait for a breaker: by priority, and in the order in which they came.

As many are woken as there is room for, however many wait. Who was woken keeps its room for a while, so that nobody who
comes later takes it, and its ticket until it starts or ends, so that it does not lose its place when it cannot start.
"""

from __future__ import annotations

from collections.abc import Callable

from service.admission.ranked_order import RankedOrder
from service.admission.verdicts import LOOK_AGAIN_US, Step


class BreakerLine:
    """Steps that wait for one breaker."""

    def __init__(self, room: Callable[[int], int], over_at_us: Callable[[], int]) -> None:
        """`room` is how many may start at a time, and `over_at_us` when there may be more (0: unknown)."""
        self._room = room
        self._over_at_us = over_at_us
        self._waiting = RankedOrder()
        self._woken: dict[Step, int] = {}
        """Until when each of them has its room, the earliest first."""
        self._tickets: dict[Step, int] = {}
        self._last_ticket = 0
        self._look: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, step: Step) -> bool:
        return step in self._waiting

    def on_stir(self, look: Callable[[], None]) -> None:
        """See Stirring."""
        self._look = look

    def stir(self) -> None:
        """See Stirring."""
        if self._look is not None and self._waiting:
            self._look()

    def join(self, step: Step, rank: int) -> None:
        """A step waits, before those of lower rank. Joining twice changes nothing."""
        if step in self._waiting:
            return
        ticket = self._tickets.get(step)
        if ticket is None:
            self._last_ticket += 1
            ticket = self._tickets[step] = self._last_ticket
        self._woken.pop(step, None)
        self._waiting.add(step, rank, ticket)

    def leave(self, step: Step) -> None:
        """See WaitingLine."""
        self._tickets.pop(step, None)
        self.move_away(step)

    def move_away(self, step: Step) -> None:
        """See WaitingLine."""
        self._waiting.discard(step)
        if self._woken.pop(step, None) is not None:
            # It has not started, and its room is another's.
            self.stir()

    def kept_for_others(self, step: Step, now_us: int) -> int:
        """How much of the room is for steps that were woken before this one came."""
        if not self._woken:
            return 0
        for other, until_us in list(self._woken.items()):
            if until_us > now_us:
                break
            del self._woken[other]
        return len(self._woken) - (step in self._woken)

    def started(self, step: Step) -> None:
        """A step that was woken has what it was woken for."""
        self._woken.pop(step, None)

    def let_through(self, now_us: int) -> tuple[list[Step], int | None]:
        """See WaitingLine."""
        through: list[Step] = []
        room = self._room(now_us)
        room -= self.kept_for_others(("", "", ""), now_us)
        while self._waiting:
            if len(through) >= room:
                again_us = self._over_at_us()
                return through, min(again_us if again_us > now_us else now_us + LOOK_AGAIN_US, now_us + LOOK_AGAIN_US)
            step = self._waiting.take()
            self._woken[step] = now_us + LOOK_AGAIN_US
            through.append(step)
        return through, None
