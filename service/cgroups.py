"""How much memory the system leaves the process: the bound of its control group, of version 1 or 2.

Invariant: what cannot be read is no bound.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

_MOUNTED = Path("/sys/fs/cgroup")
_OF_PROCESS = Path("/proc/self/cgroup")
_UNBOUNDED_FROM = 1 << 60
"""Version 1 says "no bound" with a number near 2^63."""


def memory_limit_bytes(mounted: Path = _MOUNTED, of_process: Path = _OF_PROCESS) -> int:
    """The memory that the process's group and those around it may have; 0: there is no bound."""
    try:
        lines = of_process.read_text().splitlines()
    except OSError:
        return 0
    bounds: list[int] = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            bounds += _bounds(mounted, group, "memory.max")
        elif "memory" in controllers.split(","):
            bounds += _bounds(mounted / "memory", group, "memory.limit_in_bytes")
    return min((bound for bound in bounds if 0 < bound < _UNBOUNDED_FROM), default=0)


def _bounds(mounted: Path, group: str, name: str) -> list[int]:
    """The bounds along the way to a group. In a container its own group may be mounted where the outermost would be."""
    names = [part for part in PurePosixPath(group).parts if part not in ("/", "..")]
    places = [mounted.joinpath(*names[:depth], name) for depth in range(len(names) + 1)]
    return [bound for bound in map(_number, places) if bound]


def _number(place: Path) -> int:
    try:
        return int(place.read_text())
    except (OSError, ValueError):
        # Version 2 says "max".
        return 0
