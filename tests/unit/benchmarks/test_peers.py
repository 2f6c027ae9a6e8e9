"""What is compared with what, and what becomes of a peer that cannot take part."""

import json
import subprocess
import sys

from tests.benchmarks.measurement import Options
from tests.benchmarks.peers import environments
from tests.benchmarks.peers.__main__ import Rounds
from tests.benchmarks.peers.environments import CannotInstallError
from tests.benchmarks.peers.ratios import COMPARISONS, ratios_of
from tests.benchmarks.peers.systems import Figures, RoundFailedError, System, all_systems


def ratios(*rounds):
    return {(each.measure, each.store): each for each in ratios_of(rounds)}


def test_only_what_ran_in_one_round_is_compared():
    found = ratios(
        {"podium sqlite": Figures(300), "restate tuned": Figures(100)},
        {"podium sqlite": Figures(900)},
        {"restate tuned": Figures(1)},
        {"podium sqlite": Figures(100), "restate tuned": Figures(100)},
    )
    both = found["a over restate tuned", "sqlite"]
    assert (both.value, both.spread.runs, both.met) == (2, 2, True)
    assert ("a over restate tuned", "postgres") not in found


def test_a_library_is_compared_on_the_same_store():
    found = ratios({"podium sqlite": Figures(100), "podium postgres": Figures(300), "dbos postgres": Figures(100)})
    assert {key: each.value for key, each in found.items()} == {("a over dbos", "postgres"): 3}


def test_what_somebody_is_not_measured_at_is_not_compared():
    found = ratios({"podium sqlite": Figures(100, 6, 7, {"service": 50}), "restate tuned": Figures(100, 20)})
    assert {key: each.value for key, each in found.items()} == {
        ("a over restate tuned", "sqlite"): 1,
        ("b over restate tuned", "sqlite"): 0.3,
    }


def test_the_cost_of_all_parts_counts():
    ours, theirs = (
        Figures(1, cpu_us_per_step={"service": 60, "executor": 30}),
        Figures(1, cpu_us_per_step={"server": 300}),
    )
    found = ratios({"podium sqlite": ours, "restate tuned": theirs})
    assert (found["k over restate tuned", "sqlite"].value, found["k over restate tuned", "sqlite"].met) == (0.3, True)


def test_every_comparison_names_systems_that_there_are():
    names = {system.name for system in all_systems()}
    assert {comparison.other for comparison in COMPARISONS} <= names
    assert {"podium sqlite", "podium postgres"} <= {system.key for system in all_systems()}


def refuse(error):
    def run(*_):
        raise error

    return run


def test_a_peer_that_cannot_take_part_is_told_and_the_others_go_on(capsys):
    works = System("works", "", lambda scale: Figures(100))
    missing = System("missing", "", refuse(AssertionError("it runs")), refuse(CannotInstallError("no npm")))
    broken = System("broken", "", refuse(RoundFailedError("it ended with 1")))
    rounds = Rounds(Options())
    rounds.install([missing, broken, works])
    rounds.run([missing, broken, works])
    rounds.run([missing, broken, works])
    assert rounds.failed == {"missing": "cannot be installed: no npm", "broken": "it ended with 1"}
    assert [list(each) for each in rounds.found] == [["works"], ["works"]]
    assert "broken is NOT measured" in capsys.readouterr().err


def test_half_an_installation_is_begun_anew_and_a_whole_one_is_left(tmp_path):
    home = tmp_path / "peer"
    home.mkdir()
    (home / "half").touch()
    environments.install_once(home, ["peer==1"], (home / "whole").touch)
    assert not (home / "half").exists()
    environments.install_once(home, ["peer==1"], refuse(AssertionError("it is installed")))
    assert (home / "whole").exists()
    environments.install_once(home, ["peer==2"], (home / "newer").touch)
    assert not (home / "whole").exists()


def test_the_workload_of_the_peers_needs_nothing_but_python():
    program = (
        f"import sys, asyncio; sys.path.insert(0, {str(environments.Path(environments.__file__).parent)!r})\n"
        "import workload\n"
        "async def nothing(): pass\n"
        "workload.tell(asyncio.run(workload.measure(nothing, None, workload.library_cpu_s, 50)))\n"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    figures = Figures(**json.loads(ran.stdout))
    assert figures.steps_per_s > 0
    assert figures.fan_out_p50_ms is None
    assert list(figures.cpu_us_per_step) == ["process"]
