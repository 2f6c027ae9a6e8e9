"""What `podium bench` measures: each measure with its load, its sizes, and the figures of a round."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from service.cli.bench.load import at_once, call, fan_out, one_at_a_time, percentile
from service.cli.bench.streams import stream, watchers
from service.cli.bench.target import Round, Target


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a round is about."""

    name: str
    unit: str
    of: Callable[[Round], float]


@dataclass(frozen=True, slots=True)
class Measure:
    """A load and what is read from its rounds."""

    title: str
    load: Callable[..., Awaitable[Round]]
    figures: tuple[Figure, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Where they are not the load's own."""
    quick: Mapping[str, int] = field(default_factory=dict)
    """What the sizes become where a run shall only show that everything works."""

    async def round(self, target: Target, *, quick: bool = False, **sizes: int) -> Round:
        """Put the load on a service once. Raises CommandFailed, podium.PodiumError."""
        return await self.load(target, **{**self.sizes, **(self.quick if quick else {}), **sizes})


def _named(name: str, unit: str) -> Figure:
    return Figure(name, unit, lambda found: found.figures[name])


_RATE = _named("steps_per_s", "steps/s")
_LATENCY = (
    Figure("p50", "ms", lambda found: percentile(found.latencies_ms, 0.5)),
    Figure("p99", "ms", lambda found: percentile(found.latencies_ms, 0.99)),
)

MEASURES: Mapping[str, Measure] = {
    "a": Measure(
        "50 workflows of 10 sequential steps at once",
        at_once,
        (_RATE,),
        {"workflows": 400, "lanes": 50},
        {"workflows": 50},
    ),
    "a500": Measure(
        "500 workflows of 10 sequential steps at once",
        at_once,
        (
            _RATE,
            Figure("p99_over_mean", "×", lambda found: found.figures["step_p99_ms"] / found.figures["step_mean_ms"]),
        ),
        {"workflows": 1500, "lanes": 500},
        {"workflows": 100, "lanes": 50},
    ),
    "b": Measure("10 sequential steps, one workflow at a time", one_at_a_time, _LATENCY, quick={"workflows": 5}),
    "c": Measure("100 steps at once, one workflow at a time", fan_out, _LATENCY, quick={"workflows": 2}),
    "d": Measure("direct calls of a tool, one at a time", call, _LATENCY, quick={"calls": 10}),
    "e": Measure(
        "streamed output in chunks of 64 KiB, to a watcher",
        stream,
        (_named("mb_per_s", "MB/s"), _named("first_chunk_ms", "ms")),
        quick={"chunks": 40, "firsts": 2},
    ),
    "j": Measure(
        "what 1,000 watchers cost the workflows of a",
        watchers,
        (_named("idle_cost_percent", "%"), _named("busy_cost_percent", "%")),
        quick={"watchers": 20, "workflows": 50},
    ),
}
"""By the letter that they have in docs/performance.md."""
