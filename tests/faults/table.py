"""The fault table: every fault of the model, so many times, with its negative control, in one table.

    python -m tests.faults.table [--only ROW] [--seed N] [--scale make|faults|nightly] [--json] [--write PAGE]

Exits with 1 when a target is missed, a violation is found or a negative control is not caught, and prints for each
violation the command that shows it again. `--scale nightly` goes on with new seeds until it is stopped. Each row runs
in a process of its own, as many at once as there are processors.
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from tests.architecture.checkout import ROOT
from tests.faults.row import SCALES, Row, Violation
from tests.faults.table_text import cumulated, markdown, replace_table, verdict

ROWS = (
    "simulator",
    "service_kills",
    "postgres_outcomes",
    "tampered_log",
    "fuzzed_requests",
    "postgres_kills",
    "store_kills",
    "stopped_processes",
    "subscribers",
    "power_loss",
    "failing_disk",
    "forgotten_syncs",
    "rebuilt_state",
)
"""The modules of this folder that are rows, the longest first."""
REPORT_EVERY_S = 0.5


def run_here(name, scale, seed, progress):
    """Run a row in this process. One that breaks down is a violation by itself."""
    row = importlib.import_module(f"tests.faults.{name}")
    logging.disable(logging.CRITICAL)  # Faults are logged by the thousand, and each is meant.
    try:
        return row.run(scale, seed, progress)
    except Exception:  # noqa: BLE001 - it becomes a line of the table
        broken = Violation(f"the row broke down: {traceback.format_exc()}")
        return Row(name, seed, 0, row.TARGETS[scale], (broken,), control_found=False)


def throttled(tell):
    """Progress that is told twice a second at most."""
    last_s = time.monotonic()

    def progress(done):
        nonlocal last_s
        if time.monotonic() - last_s > REPORT_EVERY_S:
            last_s = time.monotonic()
            tell(done)

    return progress


def told_as_json(name, scale, seed):
    """Run a row here and tell of it on stdout, line by line, for the process that started this one."""

    def tell(**line):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    started_s = time.monotonic()
    row = run_here(name, scale, seed, throttled(lambda done: tell(done=done)))
    tell(row=asdict(row), seconds=time.monotonic() - started_s)
    return row


async def run_apart(name, scale, seed, on_progress=lambda name, done: None):
    """Run a row in a process of its own. Returns the row and its seconds."""
    command = [*(sys.executable, "-m", "tests.faults.table", "--json"), "--only", name, "--scale", scale]
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *command, "--seed", str(seed), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=errors, limit=1 << 26
        )
        last = {}
        try:
            async for line in process.stdout:
                last = json.loads(line)
                on_progress(name, last.get("done", 0))
            await process.wait()
        except asyncio.CancelledError:
            # The row must not go on by itself; interrupted, it takes its files and processes along.
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            await process.wait()
            raise
        if "row" not in last:
            errors.seek(0)
            broken = Violation(f"its process ended with {process.returncode}: {errors.read().decode()[-4000:]}")
            return Row(name, seed, 0, 1, (broken,), control_found=False), 0.0
    violations = tuple(Violation(*each) for each in last["row"].pop("violations"))
    return Row(**last["row"], violations=violations), last["seconds"]


async def run_all(names, scale, seed):
    """Run rows side by side, and show on a terminal how far each has come. Returns (row, seconds) of each."""
    places = asyncio.Semaphore(os.cpu_count() or 1)
    done = {}

    def show(name, cases):
        done[name] = cases
        if sys.stderr.isatty():
            line = "  ".join(f"{each} {count:,}" for each, count in done.items())
            sys.stderr.write(f"\r\x1b[K{line[:150]}")
            sys.stderr.flush()

    async def run(name):
        async with places:
            result = await run_apart(name, scale, seed, show)
            done.pop(name, None)
            return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(name)) for name in names]
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    return [task.result() for task in tasks]


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.faults.table", description="Run the fault table.")
    parser.add_argument("--only", metavar="ROW", choices=ROWS, help=f"one row alone: {', '.join(ROWS)}")
    parser.add_argument("--seed", type=int, help="what chance starts from; without it, a new one")
    parser.add_argument(
        "--scale", choices=SCALES, default="faults", help="how many cases; nightly goes on until stopped"
    )
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON a row, and of progress, instead of a table"
    )
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="also put the table between the markers of this page"
    )
    return parser.parse_args(arguments)


def once(asked, names, seed):
    """Run the rows, print the table, and tell whether all is well."""
    results = asyncio.run(run_all(names, asked.scale, seed))
    table = markdown(results)
    sys.stdout.write(f"{table}\n{verdict(results, asked.scale)}")
    if asked.write:
        replace_table(asked.write, table)
    return all(row.is_good for row, _ in results)


def nightly(names, seed):
    """Run the rows with new seeds until stopped, with a table of all rounds after each."""
    total = []
    try:
        for number in range(seed, sys.maxsize):
            results = asyncio.run(run_all(names, "nightly", number))
            total = cumulated(total, results)
            sys.stdout.write(f"\nafter {number - seed + 1} rounds\n{markdown(total)}\n{verdict(results, 'nightly')}")
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stdout.write("\nstopped\n")
    return all(row.is_good for row, _ in total)


def main(arguments=None):
    asked = parse(arguments)
    names = [asked.only] if asked.only else list(ROWS)
    seed = random.randrange(1_000_000) if asked.seed is None else asked.seed
    if asked.json:
        rows = [told_as_json(name, asked.scale, seed) for name in names]
        return 0 if all(row.is_good for row in rows) else 1
    if asked.scale == "nightly":
        return 0 if nightly(names, seed) else 1
    return 0 if once(asked, names, seed) else 1


if __name__ == "__main__":
    sys.exit(main())
