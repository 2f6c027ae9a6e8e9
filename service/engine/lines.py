"""Steps that admission lets wait: woken when it is their turn, by being offered the next free place.

What wakes a step decides nothing: admission is asked again, and may let it wait once more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from service.admission.verdicts import Stirring, Wait, WaitingLine
from service.engine.keys import StepKey, ToolVersion
from service.engine.timers import Clock, Timers


class WaitingSteps:
    """The steps that wait, in a guard's line or each for a time of its own."""

    def __init__(self, clock: Clock, offer: Callable[[StepKey, ToolVersion, int], None]) -> None:
        """`offer` lets a step, of a tool and of a priority, wait for a place."""
        self._clock = clock
        self._offer = offer
        self._tools: dict[StepKey, tuple[ToolVersion, int]] = {}
        """Of all who wait: the tool and the priority."""
        self._lines: dict[StepKey, list[WaitingLine]] = {}
        """Every line that a step has stood in, the latest last: each keeps its ticket until it starts or ends."""
        self._moves: Timers[WaitingLine] = Timers(clock, self._move)
        self._alone: Timers[StepKey] = Timers(clock, self._wake)

    def close(self) -> None:
        """Wake nobody any more."""
        self._moves.close()
        self._alone.close()

    def holds(self, key: StepKey) -> bool:
        """Whether the step waits here."""
        lines = self._lines.get(key)
        return self._alone.due_at_us(key) is not None or (lines is not None and key in lines[-1])

    def join(self, key: StepKey, tool: ToolVersion, wait: Wait, priority: int = 0) -> None:
        """A step waits."""
        self._tools[key] = tool, priority
        if wait.join is None:
            self._alone.set(key, wait.until_us)
            return
        line = wait.join()
        self._stand_in(key, line)
        self._moves.set(line, wait.until_us)
        if isinstance(line, Stirring):
            line.on_stir(partial(self._look_soon, line))
            # What it waits for may have happened while that it waits was on its way to the log.
            line.stir()

    def leave(self, key: StepKey) -> None:
        """A step started or ended."""
        if self._tools.pop(key, None) is None:
            return
        self._alone.clear(key)
        for line in self._lines.pop(key, ()):
            line.leave(key)

    def _stand_in(self, key: StepKey, line: WaitingLine) -> None:
        lines = self._lines.setdefault(key, [])
        if lines and lines[-1] is not line:
            lines[-1].move_away(key)
        if line in lines:
            lines.remove(line)
        lines.append(line)

    def _look_soon(self, line: WaitingLine) -> None:
        self._moves.set(line, self._clock.now_us())

    def _move(self, line: WaitingLine) -> None:
        steps, next_us = line.let_through(self._clock.now_us())
        for step in steps:
            self._wake(StepKey(*step))
        if next_us is not None:
            self._moves.set(line, next_us)

    def _wake(self, key: StepKey) -> None:
        found = self._tools.get(key)
        if found is not None:
            self._offer(key, *found)
