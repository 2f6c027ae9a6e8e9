"""Compare Podium with its peers and with the bare prototype, all in the same rounds.

    python -m tests.benchmarks.peers [--only restate,podium] [--rounds 5] [--quick] [--json]

Every system runs once a round, on a fresh database at its durable defaults, in processes of its own. The peers are
installed into bench/peers on the first run. Exits with 1 when one of them could not be installed or run.
"""

import argparse
import sys
import time

from tests.benchmarks.measurement import Options, Report, measurement
from tests.benchmarks.peers.environments import CannotInstallError
from tests.benchmarks.peers.ratios import ratios_of
from tests.benchmarks.peers.systems import RoundFailedError, all_systems
from tests.benchmarks.prototype import PrototypeError

QUICK_SCALE = 0.2
FIGURES = (
    ("a", "steps_per_s", "steps/s"),
    ("b", "ten_steps_p50_ms", "ms"),
    ("c", "fan_out_p50_ms", "ms"),
    ("k", "total_cpu_us_per_step", "µs/step"),
)


class Rounds:
    """The rounds so far, and the systems that cannot take part."""

    def __init__(self, options):
        self._options = options
        self.found = []
        """A dictionary a round: the Figures of the systems that ran in it, by their keys."""
        self.failed = {}
        """Why a system is not measured, by its key. It is not tried again."""

    def install(self, systems):
        """Bring what the systems need."""
        for system in systems:
            try:
                system.install()
            except CannotInstallError as error:
                self._fail(system, f"cannot be installed: {error}")

    def run(self, systems):
        """Run each system once."""
        figures = {}
        self.found.append(figures)
        for system in systems:
            if system.key in self.failed:
                continue
            started = time.monotonic()
            try:
                found = system.run(QUICK_SCALE if self._options.quick else 1)
            except (RoundFailedError, PrototypeError) as error:
                self._fail(system, str(error))
                continue
            figures[system.key] = found
            took = time.monotonic() - started
            self._options.tell(f"round {len(self.found)}: {system.key} {found.steps_per_s:,.0f} steps/s ({took:.0f} s)")

    def _fail(self, system, why):
        self.failed[system.key] = why
        self._options.tell(f"{system.key} is NOT measured: {why}")

    def measurements(self, systems):
        """The figures of each system, then what Podium's are of the others'."""
        for system in systems:
            rounds = [each[system.key] for each in self.found if system.key in each]
            for measure, name, unit in FIGURES:
                values = [value for each in rounds if (value := getattr(each, name)) is not None]
                if values:
                    notes = _parts(rounds) if measure == "k" else ""
                    yield measurement(
                        measure, system.store, values, unit, versions=system.versions, notes=notes, system=system.name
                    )
        yield from ratios_of(self.found)


def _parts(rounds):
    last = rounds[-1].cpu_us_per_step
    return "the last round's: " + ", ".join(f"{part} {us:.0f}" for part, us in last.items())


def main(words=None):
    """Run what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.peers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="the systems whose names hold one of these words, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="smaller loads: to see that everything works")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each figure instead of the table")
    asked = parser.parse_args(words)
    options = Options(rounds=asked.rounds, quick=asked.quick)
    wanted = [word.strip() for word in asked.only.split(",")]
    systems = [system for system in all_systems() if any(word in system.key for word in wanted)]
    if not systems:
        parser.error(f"--only {asked.only}: there are {', '.join(system.key for system in all_systems())}")
    rounds = Rounds(options)
    rounds.install(systems)
    for _ in range(options.rounds):
        rounds.run(systems)
    report = Report(as_json=asked.json)
    for found in rounds.measurements(systems):
        report.add(found)
    report.show()
    for key, why in rounds.failed.items():
        print(f"{key} is not measured: {why}", file=sys.stderr)
    return 1 if rounds.failed else 0


if __name__ == "__main__":
    sys.exit(main())
