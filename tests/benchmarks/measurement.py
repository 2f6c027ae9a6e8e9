"""What a benchmark says: one figure with its goal, its spread, and the machine and versions it was taken with."""

import functools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from service.cli.output import table

RESULTS = Path("bench/results.jsonl")
"""Every measurement is appended to it, a line of JSON each; git ignores it."""

STORES = ("sqlite", "postgres")

_LOOP_ROUNDS = 500_000
_FLUSHES = 20
_MET = {True: "met", False: "MISSED", None: ""}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to reach. With neither bound nobody can say in this run: the text names what is missing."""

    text: str
    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, value):
        """Whether a figure reaches it; None where this run cannot say."""
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


NO_GOAL = Goal("")


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the rounds lay apart."""

    min: float
    max: float
    runs: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure: the median of its rounds."""

    measure: str
    """The letter of the table in docs/performance.md, with a word where it has several figures: `a`, `k service`."""
    store: str
    """sqlite, postgres, or empty where no store takes part."""
    value: float
    unit: str
    goal: str
    met: bool | None
    """None: there is no goal, or the run lacks what it is relative to."""
    spread: Spread
    machine: dict
    versions: dict
    notes: str = ""
    system: str = "podium"
    """What was measured: podium, or a peer's name."""


def measurement(measure, store, values, unit, *, goal=NO_GOAL, versions=None, notes="", system="podium"):
    """The figure of some rounds, taken at this moment: the median, and how far they lay apart."""
    value = statistics.median(values)
    return Measurement(
        measure=measure,
        store=store,
        value=_rounded(value),
        unit=unit,
        goal=goal.text,
        met=goal.met_by(value),
        spread=Spread(_rounded(min(values)), _rounded(max(values)), len(values)),
        machine=machine(),
        versions=_versions() | (versions or {}),
        notes=notes,
        system=system,
    )


@dataclass(frozen=True, slots=True)
class Options:
    """What a run of the benchmarks is to do; every measure is a function `measure(options)` that yields figures."""

    stores: tuple[str, ...] = STORES
    rounds: int = 3
    quick: bool = False
    """Smaller sizes: to see that everything works, not to compare."""

    def tell(self, text):
        """Say on standard error how far it is."""
        print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Report:
    """Takes measurements as they come, appends each to a file, and shows them."""

    as_json: bool = False
    path: Path | None = RESULTS
    """None: they are kept in no file."""
    taken: list[Measurement] = field(default_factory=list)

    def add(self, found):
        """Take a measurement: written at once, so that nothing is lost with a run that is stopped."""
        self.taken.append(found)
        line = json.dumps(asdict(found))
        if self.as_json:
            print(line, flush=True)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(line + "\n")

    def show(self):
        """Print the table of all of them, unless they were printed as JSON."""
        if self.as_json:
            return
        columns = ("measure", "system", "store", "value", "from", "to", "rounds", "goal", "", "notes")
        table(columns, [_row(each) for each in self.taken])


def _row(found):
    spread = found.spread
    value = f"{found.value:,g} {found.unit}"
    span = (f"{spread.min:,g}", f"{spread.max:,g}", spread.runs)
    return found.measure, found.system, found.store, value, *span, found.goal, _MET[found.met], found.notes


def machine():
    """What figures depend on: the processor, and how fast it and the disk are at this moment."""
    return _processor() | {"fsync_us": _fsync_us(), "plain_loop_ms": _plain_loop_ms()}


@functools.cache
def _processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"cores": os.cpu_count(), "cpu": names[0] if names else platform.processor(), "kernel": platform.release()}


def _fsync_us():
    """Microseconds until 4 KiB more of a file are on the disk, the median of a few."""
    with tempfile.TemporaryFile() as file:
        taken = []
        for _ in range(_FLUSHES):
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return round(statistics.median(taken) * 1e6)


def _plain_loop_ms():
    """Milliseconds of CPU for a fixed loop of plain Python, the least of three: the unit of the moment's speed."""

    def loop():
        started = time.process_time()
        total = 0
        for number in range(_LOOP_ROUNDS):
            total += number & 7
        return time.process_time() - started

    return round(min(loop() for _ in range(3)) * 1e3, 1)


@functools.cache
def _versions():
    found = {"python": platform.python_version()}
    for name, distribution in (("podium", "podium-server"), ("grpcio", "grpcio"), ("protobuf", "protobuf")):
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _rounded(value):
    """Four digits that count; more would promise what no benchmark holds."""
    return float(f"{value:.4g}") if abs(value) < 1000 else float(round(value))
