"""A simulated world is decided by its seed, and its negative controls can be named on the command line.

The worlds themselves are a row of the fault table: tests/faults/simulator.py.
"""

from tests.simulation import replay
from tests.simulation.world import Rules, lived


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
