"""Whether the service says that it serves: not when it is about to suffer, nor when it may not be the log's owner.

Invariant: it does not flap. It stops only when the load was high for a while, and begins again only well below that.
"""

from __future__ import annotations

HIGH_LOAD = 0.95
LOW_LOAD = 0.7
HIGH_FOR_S = 1.0


class Readiness:
    """Decides from what is seen, one look after another."""

    def __init__(self) -> None:
        self._high_since_s: float | None = None
        self._is_overloaded = False

    def look(self, load: float, now_s: float, *, owns_log: bool) -> bool:
        """Whether the service is to be called serving, by a load from 0 to 1, at a time of a clock that only grows."""
        if load < HIGH_LOAD:
            self._high_since_s = None
        elif self._high_since_s is None:
            self._high_since_s = now_s
        if load < LOW_LOAD:
            self._is_overloaded = False
        elif self._high_since_s is not None and now_s - self._high_since_s > HIGH_FOR_S:
            self._is_overloaded = True
        return owns_log and not self._is_overloaded
