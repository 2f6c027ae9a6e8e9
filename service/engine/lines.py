"""Steps that admission lets wait: woken when it is their turn, by being offered the next free place.

What wakes a step decides nothing: admission is asked again, and may let it wait once more.
"""

from __future__ import annotations

from collections.abc import Callable

from service.admission.pipeline import Wait, WaitingLine
from service.engine.keys import StepKey, ToolVersion
from service.engine.timers import Clock, Timers


class WaitingSteps:
    """The steps that wait, in a guard's line or each for a time of its own."""

    def __init__(self, clock: Clock, offer: Callable[[StepKey, ToolVersion], None]) -> None:
        """`offer` lets a step wait for a place."""
        self._clock = clock
        self._offer = offer
        self._tools: dict[StepKey, ToolVersion] = {}
        self._lines: dict[StepKey, WaitingLine] = {}
        """Also of steps that were let through: they keep their ticket until they start or end."""
        self._moves: Timers[WaitingLine] = Timers(clock, self._move)
        self._alone: Timers[StepKey] = Timers(clock, self._wake)

    def close(self) -> None:
        """Wake nobody any more."""
        self._moves.close()
        self._alone.close()

    def holds(self, key: StepKey) -> bool:
        """Whether the step waits here."""
        line = self._lines.get(key)
        return self._alone.due_at_us(key) is not None if line is None else key in line

    def join(self, key: StepKey, tool: ToolVersion, wait: Wait) -> None:
        """A step waits."""
        self._tools[key] = tool
        if wait.join is None:
            self._alone.set(key, wait.until_us)
            return
        before, line = self._lines.get(key), wait.join()
        if before is not None and before is not line:
            before.move_away(key)
        self._lines[key] = line
        self._moves.set(line, wait.until_us)

    def move_now(self, line: WaitingLine) -> None:
        """A guard has room for those in a line."""
        self._moves.set(line, self._clock.now_us())

    def leave(self, key: StepKey) -> None:
        """A step started or ended."""
        if self._tools.pop(key, None) is None:
            return
        self._alone.clear(key)
        line = self._lines.pop(key, None)
        if line is not None:
            line.leave(key)

    def _move(self, line: WaitingLine) -> None:
        steps, next_us = line.let_through(self._clock.now_us())
        for step in steps:
            self._wake(StepKey(*step))
        if next_us is not None:
            self._moves.set(line, next_us)

    def _wake(self, key: StepKey) -> None:
        tool = self._tools.get(key)
        if tool is not None:
            self._offer(key, tool)
