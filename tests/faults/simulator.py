"""The simulator: whole worlds in virtual time, each from a seed, in which almost everything fails.

The service is the real one, over the model store; executors and clients are played. See tests/simulation/world.py for
the faults and tests/simulation/invariants.py for what must be true.
"""

import logging
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from tests.faults.row import Row, Violation
from tests.simulation.replay import command
from tests.simulation.world import Rules, violations_of

TARGETS = {"make": 70, "faults": 10_000, "nightly": 2_000}
SEEDS_A_ROUND = 100_000
"""Seeds of the simulator that belong to one seed of the row."""
SEEDS_A_BATCH = 10
CONTROLS = {
    "was recorded as the output of": Rules(fencing=False),
    "a commit of epoch": Rules(owning=False),
    "stuck": Rules(reconciling=False, dropped_wakes=0.3, dropped_wakes_max=1),
}
"""What must be found, and the rules it must be found with."""
CONTROL_SEEDS = 1_000


def live_through(first, rules):
    """Live through a batch of seeds. Returns what was wrong in each."""
    logging.disable(logging.CRITICAL)
    return [(seed, violations_of(seed, rules)) for seed in range(first, first + SEEDS_A_BATCH)]


def worlds(pool, first, count, rules):
    """Live through so many seeds; yields (seed, violations), in order."""
    batches = [pool.submit(live_through, number, rules) for number in range(first, first + count, SEEDS_A_BATCH)]
    try:
        for batch in batches:
            yield from batch.result()
    finally:
        for batch in batches:
            batch.cancel()


def is_caught(pool, first, wanted, rules):
    """Whether worlds with a negative control's rules show the violation it is made for."""
    return any(wanted in each for _, found in worlds(pool, first, CONTROL_SEEDS, rules) for each in found)


def run(scale, seed, progress):
    first = seed * SEEDS_A_ROUND
    violations, lived = [], 0
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        for number, found in worlds(pool, first, TARGETS[scale], Rules()):
            violations += [Violation(f"seed {number}: {what}", command(number)) for what in found]
            lived += 1
            progress(lived)
        missed = [wanted for wanted, rules in CONTROLS.items() if not is_caught(pool, first, wanted, rules)]
    notes = f"not caught: {missed}" if missed else ""
    return Row("simulator", seed, lived, TARGETS[scale], tuple(violations), not missed, notes)
