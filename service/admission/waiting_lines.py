"""The lines of steps that wait for rate limits, a line for each key of a limit, in the order in which they came.

A slot wakes one step, however many wait, and nobody overtakes a line. A step keeps its ticket until it starts or ends,
so that one that was let through and could not start after all stands in front of those who came after it.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from service.admission.limits import Key, Limit
from service.admission.verdicts import LOOK_AGAIN_US, Step
from service.domain.rate_limit import after_event, allowed_at_us


class Line:
    """Steps that wait for one key of one limit."""

    def __init__(self, lines: Lines, limit: Limit, key: Key) -> None:
        self._lines = lines
        self._limit = limit
        self._key = key
        self._order: list[tuple[int, Step, int]] = []
        """Ticket, step and weight, as a heap. Those who left are passed over when they come to the front."""
        self._waiting: set[Step] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, step: Step) -> bool:
        return step in self._waiting

    def join(self, step: Step, weight: int) -> None:
        """A step waits. Joining twice changes nothing."""
        if step not in self._waiting:
            self._waiting.add(step)
            heappush(self._order, (self._lines.ticket(step), step, weight))

    def leave(self, step: Step) -> None:
        """A step started or ended, in this line or since it was let through."""
        self._lines.drop(step)
        self.move_away(step)

    def move_away(self, step: Step) -> None:
        """A step waits in another line, with the same ticket."""
        self._waiting.discard(step)
        self._settle()

    def ahead_of(self, ticket: int) -> int:
        """How many wait before the holder of a ticket comes to the end; none when it stands before the first."""
        return len(self._waiting) if self._settle() and self._order[0][0] < ticket else 0

    def let_through(self, now_us: int) -> tuple[list[Step], int | None]:
        """Take out as many as can be counted now, and tell when to ask again; None: nobody is left."""
        limit = self._limit
        through: list[Step] = []
        is_in_force = self._lines.is_in_force(limit)
        arrival_ticks = limit.arrival_ticks(self._key)
        while self._settle():
            _, step, weight = self._order[0]
            at_us = allowed_at_us(limit.rate, arrival_ticks, weight)
            if is_in_force and at_us > now_us:
                return through, min(at_us, now_us + LOOK_AGAIN_US)
            heappop(self._order)
            self._waiting.discard(step)
            through.append(step)
            arrival_ticks = after_event(limit.rate, arrival_ticks, weight, now_us)
        return through, None

    def _settle(self) -> bool:
        """Whether anybody waits. An empty line is forgotten."""
        while self._order and self._order[0][1] not in self._waiting:
            heappop(self._order)
        if not self._order:
            self._lines.forget(self._limit, self._key, self)
        return bool(self._order)


class Lines:
    """All lines, and the tickets of those who wait or waited in one."""

    def __init__(self, is_in_force: Callable[[Limit], bool]) -> None:
        """`is_in_force` tells whether the policy of the moment has the limit: for one that it has not, nobody waits."""
        self.is_in_force = is_in_force
        self._lines: dict[tuple[Limit, Key], Line] = {}
        self._tickets: dict[Step, int] = {}
        self._last_ticket = 0

    def join(self, limit: Limit, key: Key, step: Step, weight: int) -> Line:
        """Put a step into the line for a key of a limit."""
        line = self._lines.get((limit, key))
        if line is None:
            line = self._lines[limit, key] = Line(self, limit, key)
        line.join(step, weight)
        return line

    def ahead_of(self, limit: Limit, key: Key, step: Step) -> int:
        """How many wait for a key of a limit before a step may be counted."""
        line = self._lines.get((limit, key)) if self._lines else None
        return 0 if line is None else line.ahead_of(self._tickets.get(step, self._last_ticket + 1))

    def ticket(self, step: Step) -> int:
        """The step's ticket: a new one when it has none."""
        ticket = self._tickets.get(step)
        if ticket is None:
            self._last_ticket += 1
            ticket = self._tickets[step] = self._last_ticket
        return ticket

    def drop(self, step: Step) -> None:
        """Take a step's ticket back."""
        self._tickets.pop(step, None)

    def forget(self, limit: Limit, key: Key, line: Line) -> None:
        """Forget a line in which nobody stands any more."""
        if self._lines.get((limit, key)) is line:
            del self._lines[limit, key]
