"""What a benchmark says of its rounds."""

import json
from pathlib import Path

import pytest

from service.cli.bench.load import percentile
from tests.benchmarks.measurement import Goal, Report, Spread, measurement
from tests.benchmarks.rig import refuse_memory


def test_a_figure_is_the_median_of_its_rounds_with_their_spread():
    found = measurement("a", "sqlite", [3.0, 1.0, 2.5], "steps/s", versions={"sqlite": "3"})
    assert (found.value, found.spread) == (2.5, Spread(1.0, 3.0, 3))
    assert found.versions["sqlite"] == "3"
    assert found.machine["plain_loop_ms"] > 0


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal("at least", at_least=100), 100, True),
        (Goal("at least", at_least=100), 99.9, False),
        (Goal("at most", at_most=5), 5, True),
        (Goal("at most", at_most=5), 5.1, False),
        (Goal("2 × a peer that is not here"), 1e9, None),
    ],
)
def test_a_goal_is_met_missed_or_not_known(goal, value, met):
    assert measurement("x", "", [value], "ms", goal=goal).met is met


@pytest.mark.parametrize(("part", "value"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 101)])
def test_a_percentile_is_a_value_that_was_measured(part, value):
    assert percentile([*range(101, 0, -1)], part) == value


def test_every_measurement_is_kept_as_a_line_when_it_is_taken(tmp_path, capsys):
    report = Report(as_json=True, path=tmp_path / "bench" / "results.jsonl")
    report.add(measurement("a", "sqlite", [1.0], "steps/s", goal=Goal("more", at_least=2)))
    report.add(measurement("b", "postgres", [2.0], "ms"))
    lines = report.path.read_text().splitlines()
    assert lines == capsys.readouterr().out.splitlines()
    first, second = map(json.loads, lines)
    assert (first["measure"], first["met"], first["goal"], first["spread"]["runs"]) == ("a", False, "more", 1)
    assert (second["store"], second["met"], second["system"]) == ("postgres", None, "podium")


def test_a_table_tells_what_was_missed(tmp_path, capsys):
    report = Report(path=tmp_path / "results.jsonl")
    report.add(measurement("e", "sqlite", [80.0], "MB/s", goal=Goal("at least 100 MB/s", at_least=100)))
    report.show()
    assert "at least 100 MB/s  MISSED" in capsys.readouterr().out


def test_a_folder_in_memory_is_no_place_for_a_database(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("disk / ext4 rw 0 0\nnone /quick tmpfs rw 0 0\n")
    refuse_memory(Path("/slow/quick"), mounts)
    with pytest.raises(RuntimeError, match="lies in memory"):
        refuse_memory(Path("/quick/bench"), mounts)
