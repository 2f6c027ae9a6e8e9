"""Many worlds, each from a seed: what must be true is true in all of them, and a broken service is found out.

A seed that fails is run alone with: python -m tests.simulation.test_simulation SEED
"""

import sys

import pytest

from tests.simulation.world import Rules, lived, violations_of

SEEDS = 200
SEEDS_A_TEST = 20
CONTROL_SEEDS = 40
ALONE = "python -m tests.simulation.test_simulation"


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_whatever_happens_nothing_is_stuck_doubled_or_lost(first):
    for seed in range(first, first + SEEDS_A_TEST):
        found = violations_of(seed)
        assert not found, f"seed {seed} (alone: {ALONE} {seed}): {found}"


def test_the_same_seed_is_the_same_world():
    assert lived(7).database.events == lived(7).database.events


def test_negative_control_without_fencing_a_stale_result_counts():
    assert "was recorded as the output of" in found_in(Rules(fencing=False), "was recorded as the output of")


def test_negative_control_without_reconciling_a_lost_wake_up_is_for_ever():
    assert "stuck" in found_in(Rules(reconciling=False, dropped_wakes=0.3), "stuck")


def found_in(rules, wanted):
    """The first violation of a kind that worlds with these rules show."""
    for seed in range(CONTROL_SEEDS):
        for violation in violations_of(seed, rules):
            if wanted in violation:
                return violation
    return f"nothing in {CONTROL_SEEDS} seeds"


if __name__ == "__main__":
    for number in map(int, sys.argv[1:]):
        print(number, violations_of(number))  # noqa: T201 - a program for a terminal
