"""Tampering is found: a flipped bit, a deleted, exchanged or cut off event, at every position, however well forged.

The cases and the check are in tests/faults/tampering.py.
"""

from tests.faults import tampering
from tests.faults.row import Row, Violation

TARGETS = {"make": 400, "faults": 79_000, "nightly": 8_000}
SHARE = {"make": 0.005, "faults": 1.0, "nightly": 0.1}
"""Of the positions of a log of 10,000 events."""


def run(scale, seed, progress):
    cases, missed, caught = tampering.run(SHARE[scale], seed)
    progress(cases)
    violations = (Violation(f"{missed} of {cases} changes were not found"),) if missed else ()
    return Row("tampered_log", seed, cases, TARGETS[scale], violations, caught)
