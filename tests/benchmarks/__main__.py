"""Runs the benchmarks: `python -m tests.benchmarks`, or `make bench`. Run it on a machine that does nothing else."""

import argparse
import sys
from importlib import import_module

from tests.benchmarks import loads
from tests.benchmarks.measurement import RESULTS, STORES, Options, Report

ALONE = {
    "f": "tests.benchmarks.replay",
    "g": "tests.benchmarks.cold_start",
    "h": "tests.benchmarks.memory",
    "i": "tests.benchmarks.growth",
}
"""The measures that need no deployment of the loads: modules with a function `measure(options)`."""
LETTERS = (*loads.LETTERS, *ALONE)

EXAMPLE = """\
measures:
  a     50 workflows of 10 sequential steps at once      f  events folded a second
  a500  500 at once                                      g  cold start with 100,000 open workflows
  b     10 sequential steps, one workflow at a time      h  memory
  c     100 steps at once, one workflow at a time        i  growth to 10,000,000 events
  d     a direct call, over a bare echo                  j  what watchers cost
  e     streamed output                                  k  CPU a step

example:
  python -m tests.benchmarks --only a,d,k --store sqlite --json
"""


def main(arguments=None):
    """Measure what is asked for. Returns the exit code: 1 when something could not be measured, 0 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure Podium on this machine, each part in its own process; a quarter of an hour in all.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="LETTERS", default="", help="these measures alone, joined by commas")
    parser.add_argument("--store", choices=STORES, help="on this database alone")
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="medians of so many rounds (3)")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works, not to compare")
    parser.add_argument("--json", action="store_true", help=f"print JSON Lines, as in {RESULTS}, instead of a table")
    asked = parser.parse_args(arguments)
    letters = [letter.strip() for letter in asked.only.split(",") if letter.strip()] or LETTERS
    if unknown := sorted(set(letters) - set(LETTERS)):
        parser.error(f"--only {', '.join(unknown)} is no measure; there are {', '.join(LETTERS)}")
    if asked.rounds < 1:
        parser.error("--rounds must be at least 1")
    options = Options((asked.store,) if asked.store else STORES, asked.rounds, asked.quick)
    return run(options, letters, Report(as_json=asked.json))


def run(options, letters, report):
    """Measure and report. What cannot be measured is told, and does not keep the rest from being."""
    failed = False
    together = [letter for letter in loads.LETTERS if letter in letters]
    work = [(", ".join(together), lambda: loads.measure(options, together))] if together else []
    work += [
        (letter, lambda name=name: import_module(name).measure(options))
        for letter, name in ALONE.items()
        if letter in letters
    ]
    for name, measure in work:
        try:
            for found in measure():
                report.add(found)
        except Exception as error:  # noqa: BLE001 - whatever keeps one from being measured says nothing of the others
            options.tell(f"{name}: could not be measured: {type(error).__name__}: {error}")
            failed = True
        except KeyboardInterrupt:
            options.tell(f"{name}: broken off")
            failed = True
            break
    report.show()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
