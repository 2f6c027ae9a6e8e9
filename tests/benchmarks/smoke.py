"""The benchmark that every change passes: Podium's steps a second over the bare prototype's, on SQLite.

    python -m tests.benchmarks.smoke

Both run in turns on this machine, so that what is compared is the code and not the moment. Exits with 1 when the ratio
lies more than 40 % below the one that docs/performance.md states.
"""

import re
import statistics
import sys
from pathlib import Path

from tests.benchmarks.prototype import PrototypeError, steps_per_s
from tests.benchmarks.rig import database, deployed

STATED_IN = Path(__file__).parents[2] / "docs" / "performance.md"
ROW = "steps/s of (a) over the bare prototype's, SQLite"
"""The first cell of the row in its tables that states the ratio; the second is the number."""
FALL_MAX = 0.4
ROUNDS = 5
WORKFLOWS = 200


class NotStatedError(ValueError):
    """The document does not state the ratio, in one row with a number."""


def stated_ratio(text):
    """The ratio that a text in Markdown states. Raises NotStatedError."""
    found = re.findall(rf"^\| {re.escape(ROW)} \| ([^|]*) \|", text, re.MULTILINE)
    try:
        [cell] = found
        ratio = float(cell)
    except ValueError:
        raise NotStatedError(f"one row of a table must state {ROW!r} as a number; there are {found}") from None
    if not ratio > 0:
        raise NotStatedError(f"{ROW!r} is stated as {ratio:g}: nothing could be less")
    return ratio


def problem_of(ratio, stated):
    """What is wrong with a ratio that was measured, against the one that is stated; empty: nothing."""
    least = stated * (1 - FALL_MAX)
    if ratio >= least:
        return ""
    return (
        f"Podium runs {ratio:.3f} of the bare prototype's steps a second, and docs/performance.md states {stated:g}: "
        f"less than {least:.3f} is a fall of more than {FALL_MAX:.0%}. Find what costs so much, or state what is new."
    )


def measured_ratio(rounds=ROUNDS):
    """Let both run in turns; the median of the rounds' ratios. Raises PrototypeError."""
    ratios = []
    with database("sqlite") as on, deployed(on) as rig:
        rig.load("a", workflows=WORKFLOWS // 4)
        for number in range(1, rounds + 1):
            bare = steps_per_s("sqlite", on.folder)
            ours = rig.load("a", workflows=WORKFLOWS).figures["steps_per_s"]
            ratios.append(ours / bare)
            print(
                f"round {number}: Podium {ours:,.0f} steps/s, bare prototype {bare:,.0f}", file=sys.stderr, flush=True
            )
    return statistics.median(ratios)


def main():
    """Measure, and say whether it is what is stated; the exit code."""
    try:
        stated = stated_ratio(STATED_IN.read_text())
        ratio = measured_ratio()
    except (NotStatedError, PrototypeError) as error:
        print(f"bench-smoke: {error}", file=sys.stderr)
        return 1
    problem = problem_of(ratio, stated)
    print(
        f"bench-smoke: {problem}" if problem else f"bench-smoke: {ratio:.3f} of the bare prototype, {stated:g} stated"
    )
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
