"""What Podium's figures are of the others', round by round: only what ran in the same round is compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.measurement import Goal, measurement

STORES = ("sqlite", "postgres")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of Podium on each store over the same figure of another system."""

    measure: str
    """The letter in the table of docs/performance.md."""
    figure: str
    """The name of the field of Figures."""
    other: str
    """The other system's name; with a store of its own, or on the same store as Podium."""
    goals: Mapping[str, Goal]
    """By store."""


def _on_both(text, **bounds):
    return {store: Goal(text, **bounds) for store in STORES}


COMPARISONS = (
    Comparison("a", "steps_per_s", "restate tuned", _on_both("2 × (gate: 1.5 ×)", at_least=2)),
    Comparison("a", "steps_per_s", "restate default", _on_both("4 ×", at_least=4)),
    Comparison("a", "steps_per_s", "dbos", _on_both("30 ×", at_least=30)),
    Comparison("a", "steps_per_s", "langgraph", _on_both("15 ×", at_least=15)),
    Comparison("a", "steps_per_s", "bare prototype", _on_both("0.35 ×", at_least=0.35)),
    Comparison(
        "b",
        "ten_steps_p50_ms",
        "restate tuned",
        {"sqlite": Goal("0.6 ×", at_most=0.6), "postgres": Goal("0.7 ×", at_most=0.7)},
    ),
    Comparison("c", "fan_out_p50_ms", "restate tuned", _on_both("0.5 ×", at_most=0.5)),
    Comparison("k", "total_cpu_us_per_step", "restate tuned", _on_both("0.45 ×", at_most=0.45)),
)


def ratios_of(rounds: Sequence[Mapping[str, object]]):
    """Compare: each round is the Figures of the systems that ran in it, by their keys. Yields measurements."""
    for comparison in COMPARISONS:
        for store, goal in comparison.goals.items():
            values = [value for each in rounds if (value := _ratio(comparison, store, each)) is not None]
            if values:
                yield measurement(f"{comparison.measure} over {comparison.other}", store, values, "×", goal=goal)


def _ratio(comparison, store, figures):
    ours = figures.get(f"podium {store}")
    theirs = figures.get(comparison.other) or figures.get(f"{comparison.other} {store}")
    values = [getattr(each, comparison.figure, None) for each in (ours, theirs)]
    return None if None in values else values[0] / values[1]
