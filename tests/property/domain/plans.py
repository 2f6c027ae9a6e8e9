"""Random workflows that are valid, and random numbers by which a walk through them is chosen."""

import os
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from podium.v1 import definition_pb2 as pb
from tests.unit.domain.workflow_run import declared, old, other, step

THOROUGHNESS = int(os.environ.get("PODIUM_THOROUGHNESS", "1"))
"""How many times as many examples as usual: for a night, not for every run."""

CONDITIONS = {
    "true": lambda _go, _output, _state: True,
    "false": lambda _go, _output, _state: False,
    "input.go": lambda go, _output, _state: go,
    "steps.{}.output == null": lambda _go, output, _state: output is None,
    'steps.{}.state == "succeeded"': lambda _go, _output, state: state == "succeeded",
    "steps.{}.output > 1": lambda _go, output, _state: output > 1 if type(output) is int else None,
}
"""Conditions by their text, with what they give by another way; None: they cannot be evaluated."""

OUTPUTS = [None, [], [1, [2]], 3, {"x": 1}, "${steps.s0.output}"]
"""What tools answer."""


def examples(count):
    return settings(
        max_examples=count * THOROUGHNESS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


SURVEY = settings(max_examples=3000, deadline=None, database=None, phases=[Phase.generate], derandomize=True)
"""For looking at what walks come by, which takes some hundreds of them: always the same ones."""
SEARCH = settings(max_examples=4000, deadline=None, database=None, phases=[Phase.generate], derandomize=True)
"""For finding one example of something wrong: the smallest is not looked for, and one plan in 200 may have it."""


@dataclass(frozen=True)
class Plan:
    """What is submitted, and what happens then as far as chance decides it."""

    steps: tuple[pb.StepDefinition, ...]
    additions: tuple[tuple[pb.StepDefinition, ...], ...]
    open: bool
    max_parallel: int
    timeout_ms: int
    go: bool
    cancel_at: int | None
    """The move before which somebody cancels."""
    choices: tuple[int, ...]
    """Each chooses a move among those that are possible at its time."""

    def __repr__(self):
        shown = [f"{d.id}<-{','.join(d.depends_on)} {d}" for d in (*self.steps, *sum(self.additions, ()))]
        return f"Plan({shown}, {self.additions and 'some are added'}, {self.choices}, cancel_at={self.cancel_at})"


REASONS = [
    *([], ["*"], ["DENIED"], ["EXHAUSTED"], ["EXHAUSTED"], ["EXHAUSTED", "PERMISSION_DENIED"], ["STALE_MISS"]),
    *(["TOOL_ERROR"], ["TIMEOUT", "BREAKER_OPEN"]),
]
"""What links name."""


@st.composite
def chains(draw, needed):
    """A fallback chain, seldom a long one."""
    links = []
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 4]))):
        on = draw(st.sampled_from(REASONS))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            links.append(declared(draw(st.integers(0, 3)), *on))
        elif kind == 1:
            links.append(old(*on))
        else:
            fields = {}
            if kind == 2:
                bounds = {"max_attempts": draw(st.integers(1, 2)), "budget_ms": draw(st.sampled_from([0, 120]))}
                fields["retry"] = pb.RetryPolicy(initial_backoff_ms=50, **bounds)
            if needed and draw(st.booleans()):
                fields["arguments"] = {"y": f"${{steps.{needed[0]}.output.x}}"}
            links.append(other(draw(st.sampled_from(["work", "look"])), *on, **fields))
    return links


@st.composite
def definitions(draw, name, earlier):
    """A step that may depend on the earlier ones."""
    needed = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=4)) if earlier else []
    join = draw(st.sampled_from(pb.Join.values()))
    if join == pb.JOIN_N_OF and not needed:
        join = pb.JOIN_ANY
    fields = {
        "join": join,
        "join_count": draw(st.integers(1, len(needed))) if join == pb.JOIN_N_OF else 0,
        "tool": draw(st.sampled_from(["work", "look"])),
        "on_failure": draw(st.sampled_from(pb.OnFailure.values())),
        "fallback": draw(chains(needed)),
        "retry": pb.RetryPolicy(
            max_attempts=draw(st.integers(0, 3)), initial_backoff_ms=50, budget_ms=draw(st.sampled_from([0, 120]))
        ),
    }
    if draw(st.integers(0, 2)) == 2:
        known = list(CONDITIONS) if needed else [text for text in CONDITIONS if "{}" not in text]
        text = draw(st.sampled_from(known))
        fields["condition"] = text.format(needed[0]) if needed else text
    if draw(st.booleans()):
        over = [[], [1], [1, 2], [1, 2, 3], *(f"${{steps.{one}.output}}" for one in needed[:1])]
        fields["each"] = draw(st.sampled_from(over))
        fields["at_once"] = draw(st.integers(0, 2))
    if needed and draw(st.booleans()):
        fields["arguments"] = {"x": f"${{steps.{needed[-1]}.output.x}}"}
    return step(name, *needed, **fields)


@st.composite
def plans(draw):
    count = draw(st.integers(1, 7))
    moves = draw(st.integers(0, 40))
    names = [f"s{number}" for number in range(count + 3)]
    steps = [draw(definitions(names[index], names[:index])) for index in range(count)]
    is_open = draw(st.booleans())
    added = [draw(definitions(names[index], names[:index])) for index in range(count, count + 3)] if is_open else []
    return Plan(
        steps=tuple(draw(st.permutations(steps))),
        additions=tuple((definition,) for definition in added),
        open=is_open,
        max_parallel=draw(st.integers(0, 3)),
        timeout_ms=draw(st.sampled_from([0, 0, 200])),
        go=draw(st.booleans()),
        cancel_at=draw(st.none() | st.integers(0, 6)),
        choices=tuple(draw(st.lists(st.integers(0, 9999), min_size=moves, max_size=moves))),
    )
