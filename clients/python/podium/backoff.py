"""The waits between tries: exponential, bounded, with jitter."""

from __future__ import annotations

from podium.chance import jittered


class Backoff:
    """Hands out ever longer waits until something works again."""

    def __init__(self, *, initial: float = 0.1, longest: float = 5.0) -> None:
        self._initial = initial
        self._longest = longest
        self._next = initial

    def next_delay(self) -> float:
        """Returns the next wait in seconds."""
        delay = self._next
        self._next = min(delay * 2, self._longest)
        return jittered(delay)

    def reset(self) -> None:
        """Begins with the shortest wait again."""
        self._next = self._initial
