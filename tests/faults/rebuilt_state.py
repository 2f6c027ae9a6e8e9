"""Rebuilt state equals live state: every state that the service worked with, at its version, against the log.

In simulated worlds the digest of a workflow's live state is kept whenever it is durable; afterwards each stream is
folded event by event, and every version that was ever live must come out the same, over any number of crashes.
"""

from tests.faults.row import Row, Violation
from tests.simulation.live_states import LiveStates
from tests.simulation.replay import command
from tests.simulation.world import lived

TARGETS = {"make": 2_000, "faults": 60_000, "nightly": 20_000}
FIRST_SEED = 50_000
"""Within the seeds of a round, beyond those that the simulator's row lives through."""
IGNORED = "attempt_failed"


def run(scale, seed, progress):
    number = seed * 100_000 + FIRST_SEED
    compared, violations, found = 0, [], False
    while compared < TARGETS[scale]:
        states = LiveStates()
        world = lived(number, on_life=states.watch)
        count, differences = states.compare(world.log)
        compared += count
        violations += [Violation(f"seed {number}: {each}", command(number)) for each in differences]
        found = found or bool(states.compare(world.log, ignored=IGNORED)[1])
        number += 1
        progress(compared)
    return Row("rebuilt_state", seed, compared, TARGETS[scale], tuple(violations), found)
