"""How long the times that can be set may be at most.

A time beyond its bound is a slip of the unit, microseconds for milliseconds, and not a wish: the service would wait for
years, or longer than a timer of the system can. Invariant: every setting whose name ends with its unit has a bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_DAY_MS = 86_400_000
_YEAR_MS = 366 * _DAY_MS
_LONGER = {
    # Work may take its time: as long as the longest period that a policy counts.
    "start_to_close_ms": _YEAR_MS,
    "schedule_to_start_ms": _YEAR_MS,
    # Credentials and what was submitted with them may live long, and be checked for long.
    "token_jwks_grace_s": _YEAR_MS,
    "session_max_age_s": 10 * _YEAR_MS,
    "run_authority_max_s": 10 * _YEAR_MS,
}
_UNITS_MS = {"_ms": 1, "_s": 1_000}


def longest(name: str) -> int | None:
    """The most that a setting of this name may be, in its own unit; None: it is no time.

    Most times are waits during which something stands still, or the time between two looks: a day is the most.
    """
    unit_ms = next((size for ending, size in _UNITS_MS.items() if name.endswith(ending)), None)
    return None if unit_ms is None else _LONGER.get(name, _DAY_MS) // unit_ms


def time_problems(times: Mapping[str, tuple[str, object]]) -> Iterator[str]:
    """What is too long, a line each. `times` has the variable and the value of each setting by its name."""
    for name, (variable, value) in times.items():
        most = longest(name)
        if most is not None and isinstance(value, int) and value > most:
            unit = "seconds" if name.endswith("_s") else "milliseconds"
            days = most * (1_000 if name.endswith("_s") else 1) // _DAY_MS
            yield f"{variable} must be at most {most:_}, {'a day' if days == 1 else f'{days} days'} in {unit}"
