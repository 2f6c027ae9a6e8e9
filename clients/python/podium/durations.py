"""Durations as people write them: "10s", "1m30s", "500ms", a number of seconds, a timedelta."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import TypeAlias

Duration: TypeAlias = str | float | timedelta

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def seconds(duration: Duration) -> float:
    """Returns the duration in seconds; raises ValueError when it is negative or cannot be read."""
    if isinstance(duration, timedelta):
        result = duration.total_seconds()
    elif isinstance(duration, str):
        text = duration.replace(" ", "")
        if not _WHOLE.fullmatch(text):
            raise ValueError(f'{duration!r} is no duration; write for example "10s", "1m30s" or "500ms"')
        result = sum(float(amount) * _UNIT_SECONDS[unit] for amount, unit in _PART.findall(text))
    elif isinstance(duration, bool):
        # To Python it is a number, and nobody means a second by it.
        problem = f'{duration} is no duration; write for example "10s" or a number of seconds'
        raise ValueError(problem)  # noqa: TRY004 - as for everything else that is no duration
    else:
        result = float(duration)
    if not math.isfinite(result) or result < 0:
        raise ValueError(f"{duration!r} is no duration: it must be finite and not negative")
    return result


def milliseconds(duration: Duration | None) -> int:
    """Returns whole milliseconds, rounded up so that a short duration never becomes 0, "the default"."""
    return 0 if duration is None else math.ceil(round(seconds(duration) * 1000, 3))
