"""Many worlds, each from a seed: what must be true is true in all of them, and a broken service is found out.

A seed that fails is run alone with: python -m tests.simulation.test_simulation SEED
"""

import sys

import pytest

from service.domain.snapshot import pieces_of
from service.engine import residency, snapshots
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


@pytest.fixture
def snapshots_all_the_time(monkeypatch):
    """A few events are worth a snapshot, so that whatever happens is done to states that were restored from one."""
    monkeypatch.setattr(snapshots, "AT_REST_EVENTS", 2)
    monkeypatch.setattr(snapshots, "RUNNING_EVENTS", 2)
    monkeypatch.setattr(residency, "PAGE_EVENTS", 2)


@pytest.mark.usefixtures("snapshots_all_the_time")
def test_nothing_of_it_happens_to_what_is_restored_from_snapshots_either():
    kept = 0
    for seed in range(SEEDS_A_TEST):
        world = lived(seed)
        assert not world.ledger.violations, f"seed {seed}: {world.ledger.violations}"
        kept += len(world.database.snapshots)
    assert kept, "there were no snapshots"


def forgets_outputs(pieces):
    """Pieces without what they say of the steps' outputs."""
    for kind, content in pieces:
        if kind == "steps":
            yield kind, content | {"columns": content["columns"] | {"output": [-1] * len(content["columns"]["id"])}}
        else:
            yield kind, content


@pytest.mark.usefixtures("snapshots_all_the_time")
def test_negative_control_a_snapshot_that_forgets_something_is_found_out(monkeypatch):
    monkeypatch.setattr(snapshots, "pieces_of", lambda state: forgets_outputs(pieces_of(state)))
    assert "is not what the log says" in found_in(Rules(), "is not what the log says")


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
