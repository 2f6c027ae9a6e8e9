"""Cycles in a graph of steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence


def find_cycle(dependencies: Mapping[str, Sequence[str]]) -> list[str]:
    """Return one cycle, each step followed by one it depends on and the first repeated at the end; [] for none.

    Dependencies on steps outside the mapping are ignored: what is already recorded cannot depend on what is not.
    Kahn's algorithm leaves the steps that are in or behind a cycle; walking dependencies among them finds one.
    """
    waiting = {name: {d for d in needed if d in dependencies} for name, needed in dependencies.items()}
    dependents: dict[str, list[str]] = {}
    for name, needed in waiting.items():
        for dependency in needed:
            dependents.setdefault(dependency, []).append(name)
    free = deque(name for name, needed in waiting.items() if not needed)
    while free:
        name = free.popleft()
        del waiting[name]
        for dependent in dependents.get(name, ()):
            waiting[dependent].discard(name)
            if not waiting[dependent]:
                free.append(dependent)
    if not waiting:
        return []
    # Steps behind a cycle wait for it but nothing among the rest leads out, so the walk must meet itself.
    following = next(iter(waiting))
    places: dict[str, int] = {}
    while following not in places:
        places[following] = len(places)
        following = min(waiting[following])
    return [*list(places)[places[following] :], following]
