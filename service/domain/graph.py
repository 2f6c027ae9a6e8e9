"""The graph of a workflow's steps: what they depend on is there, and nothing waits for itself."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence

from podium.v1 import definition_pb2 as pb
from service.domain.errors import Violation

STEP_ID = re.compile(r"[a-z_][a-z0-9_]{0,63}")
_CYCLE_SHOWN = 20
"""A longer cycle is shown by its beginning and its end."""


def find_cycle(dependencies: Mapping[str, Sequence[str]]) -> list[str]:
    """Return one cycle, each step followed by one it depends on and the first repeated at the end; [] for none.

    Dependencies on steps outside the mapping are ignored: what is already recorded cannot depend on what is not.
    Kahn's algorithm leaves the steps that are in or behind a cycle; walking dependencies among them finds one.
    """
    waiting: dict[str, int] = {}
    dependents: dict[str, list[str]] = {}
    for name, needed in dependencies.items():
        within = {dependency for dependency in needed if dependency in dependencies}
        waiting[name] = len(within)
        for dependency in within:
            dependents.setdefault(dependency, []).append(name)
    free = deque(name for name, count in waiting.items() if not count)
    while free:
        name = free.popleft()
        del waiting[name]
        for dependent in dependents.get(name, ()):
            waiting[dependent] -= 1
            if not waiting[dependent]:
                free.append(dependent)
    if not waiting:
        return []
    # Steps behind a cycle wait for it but nothing among the rest leads out, so the walk must meet itself.
    following = next(iter(waiting))
    places: dict[str, int] = {}
    while following not in places:
        places[following] = len(places)
        following = min(dependency for dependency in dependencies[following] if dependency in waiting)
    return [*list(places)[places[following] :], following]


def graph_violations(
    steps: Sequence[pb.StepDefinition],
    needs: Sequence[Mapping[str, str]],
    existing: Mapping[str, object],
    path: str,
) -> list[Violation]:
    """What is wrong with how the steps depend on each other, and on those the workflow already has.

    `needs` are the dependencies of each, with the field that names them first; `path` is the field of a step, with {}
    for its index.
    """
    violations: list[Violation] = []
    places: dict[str, int] = {}
    for index, step in enumerate(steps):
        if step.id in existing or step.id in places:
            violations.append((f"{path.format(index)}.id", f"{step.id} is already the id of another step"))
        places.setdefault(step.id, index)
    in_order = True
    for index, step in enumerate(steps):
        for name, field in needs[index].items():
            place = places.get(name)
            if place is None:
                if not _is_step(name, existing):
                    violations.append((f"{path.format(index)}.{field}", f"{step.id} needs {name}, which is no step"))
            elif place >= index:
                in_order = False
    # Where each step needs earlier ones alone, which is nearly always, nothing can wait for itself.
    cycle = [] if in_order else find_cycle({step.id: list(step.depends_on) for step in steps})
    if cycle:
        field = needs[places[cycle[0]]].get(cycle[1], "depends_on")
        problem = f"makes a cycle, each needing the next: {_way(cycle)}"
        violations.append((f"{path.format(places[cycle[0]])}.{field}", problem))
    return violations


def _is_step(name: str, existing: Mapping[str, object]) -> bool:
    """Whether the workflow has a step of this name already; the items of a for_each step are none to depend on."""
    return name in existing and STEP_ID.fullmatch(name) is not None


def _way(cycle: Sequence[str]) -> str:
    if len(cycle) <= _CYCLE_SHOWN:
        return " → ".join(cycle)
    half = _CYCLE_SHOWN // 2
    between = f"({len(cycle) - 2 * half} more)"
    return " → ".join([*cycle[:half], between, *cycle[-half:]])
