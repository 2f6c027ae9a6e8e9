"""A simulated world is decided by its seed, and its negative controls can be named on the command line.

The worlds themselves are a row of the fault table: tests/faults/simulator.py.
"""

import pytest

from service.domain.snapshot import pieces_of
from service.engine import residency, snapshots
from tests.simulation import replay
from tests.simulation.world import Rules, lived

SEEDS = 20


@pytest.fixture
def snapshots_all_the_time(monkeypatch):
    """A few events are worth a snapshot, so that whatever happens is done to states that were restored from one."""
    monkeypatch.setattr(snapshots, "AT_REST_EVENTS", 2)
    monkeypatch.setattr(snapshots, "RUNNING_EVENTS", 2)
    monkeypatch.setattr(residency, "PAGE_EVENTS", 2)


@pytest.mark.usefixtures("snapshots_all_the_time")
def test_nothing_of_it_happens_to_what_is_restored_from_snapshots_either():
    kept = 0
    for seed in range(SEEDS):
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
    worlds = (lived(seed) for seed in range(2 * SEEDS))
    assert any("is not what the log says" in found for world in worlds for found in world.ledger.violations)


def test_the_same_seed_is_the_same_world():
    assert lived(7).database.events == lived(7).database.events


def test_a_seed_is_lived_through_again_by_one_command_with_its_rules(capsys):
    unfair = Rules(owning=False, dropped_wakes=0.5)
    assert replay.command(12, unfair) == "python -m tests.simulation.replay 12 owning=false dropped_wakes=0.5"
    assert replay.main("12") == 0
    assert capsys.readouterr().out == "nothing is wrong\n"


def test_negative_control_a_broken_rule_is_found_by_that_command(capsys):
    assert any(replay.main(str(seed), "owning=false") for seed in range(40))
    assert "a commit of epoch" in capsys.readouterr().out
