"""Durations as they are written in a policy file."""

from __future__ import annotations

_UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def duration_text(milliseconds: int) -> str:
    """A duration in the largest unit that it is a whole number of."""
    unit, size = next((unit, size) for unit, size in _UNITS_MS if milliseconds % size == 0)
    return f"{milliseconds // size}{unit}"
