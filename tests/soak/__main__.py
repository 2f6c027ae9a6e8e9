"""`make soak`: the service under load for half an hour, with executors that flap; fails when it holds on to anything.

`--minutes 1` for a short one. Prints a table and, with `--json FILE`, writes everything that was measured.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.soak.judgement import growth_mib
from tests.soak.soak import Plan, Soaked

ROWS = 12


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--load", type=float, default=0.7, help="which part of the highest load")
    parser.add_argument("--leaks", default="", help="plants leaks: memory,files,tasks,places,permits")
    parser.add_argument("--json", type=Path, help="where everything that was measured is written")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def table(report):
    """The samples, thinned out, and what came of it all."""
    yield f"highest load {report.highest_per_s:.0f} calls/s, applied {report.applied_per_s:.0f}"
    yield f"for {report.seconds:.0f} s, in which {report.kills} executors were killed"
    yield ", ".join(f"{count} {outcome}" for outcome, count in sorted(report.outcomes.items()))
    yield ""
    yield "     s  own MiB  files  conns  tasks  places  attempts  waiting"
    step = max(1, len(report.samples) // ROWS)
    for name, each in [("", each) for each in report.samples[::step]] + [("rest", report.after)]:
        held = [each.holdings.get(key, 0) for key in ("tasks", "places", "attempts", "waiting")]
        yield (
            f"{name or round(each.at_s):>6} {each.rss_mib:8.1f} {each.files:6} {each.connections:6} "
            f"{held[0]:6} {held[1]:7} {held[2]:9} {held[3]:8}"
        )
    yield ""
    yield f"memory after the warm-up: {growth_mib(report.samples):+.1f} MiB along its line"
    yield from report.findings or ["nothing was left over"]


def main():
    asked = arguments()
    plan = Plan(seconds=asked.minutes * 60, load=asked.load, leaks=asked.leaks, seed=asked.seed)
    with tempfile.TemporaryDirectory(prefix="podium-soak-") as directory:
        report = asyncio.run(Soaked(Path(directory), plan).run())
    sys.stdout.write("\n".join(table(report)) + "\n")
    if asked.json:
        asked.json.write_text(report.as_json())
    sys.exit(bool(report.findings))


if __name__ == "__main__":
    main()
