"""`podium bench` on a real service: what it prints, and that it leaves nothing running."""

import signal
import subprocess
from pathlib import Path

import pytest

from service.cli.bench.measures import MEASURES

FIGURES = {(letter, figure.name) for letter, measure in MEASURES.items() for figure in measure.figures}


@pytest.fixture
def at(service, tenant, tmp_path):
    """Where the service is, and who asks, as variables of a command; what it leaves goes with the test."""
    token = service.token(roles=["admin"], tenant=tenant)
    return {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": token, "TMPDIR": str(tmp_path)}


@pytest.fixture
def unended(podium_command, at):
    """Tells the workflows that have not ended."""

    def lines():
        words = [word for state in ("running", "canceling") for word in ("--state", state)]
        return podium_command("workflows", "list", *words, "--json", **at).lines

    return lines


def test_every_measure_has_its_figures_and_nothing_stays_open(podium_command, at, unended, tmp_path):
    ended = podium_command("bench", "--quick", "--rounds", "1", "--json", **at)
    assert ended.code == 0, ended.err
    found = {(line["measure"], line["figure"]): line for line in ended.lines}
    assert found.keys() == FIGURES
    assert found["a", "steps_per_s"]["median"] > 0
    assert found["d", "p50"]["unit"] == "ms"
    assert all(line["rounds"] == 1 for line in found.values())
    assert [line.partition(":")[0] for line in ended.err.splitlines()] == list(MEASURES)
    assert unended() == []
    assert list(tmp_path.iterdir()) == []


def test_a_table_holds_the_measures_that_were_asked_for(podium_command, at):
    ended = podium_command("bench", "--quick", "--rounds", "2", "--only", "d,b", **at)
    rows = [line.split()[:2] for line in ended.out.splitlines()[1:]]
    assert rows == [["d", "p50"], ["d", "p99"], ["b", "p50"], ["b", "p99"]]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_that_is_broken_off_leaves_nothing_running(program, processes, at, unended, number, code):
    bench = program("bench", "--only", "a500", "--json", errors=subprocess.PIPE, **at)
    assert bench.process.stderr.readline().startswith("a500")
    pid = bench.process.pid
    children = processes(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    assert bench.end(number) == code
    assert children.end_within(0) == []
    # What was told to end still gives its attempts up.
    assert any(unended() == [] for _ in range(20))


def test_a_measure_that_does_not_exist_is_bad_input(podium_command):
    ended = podium_command("bench", "--only", "a,x")
    assert ended.code == 2
    assert "--only x is no measure; there are a, a500, b, c, d, e, j" in ended.err


def test_a_caller_who_may_not_serve_tools_is_told_so(podium_command, at, service, tenant, tmp_path):
    ended = podium_command("bench", **at | {"PODIUM_TOKEN": service.token(roles=["viewer"], tenant=tenant)})
    assert ended.code == 3
    assert "tools.serve" in ended.err
    [log] = tmp_path.glob("podium-bench-*.log")
    assert f"all that it said is in {log}" in ended.err


def test_no_service_is_told_as_everywhere(podium_command):
    ended = podium_command("bench", "--address", "127.0.0.1:1", "--token", "x")
    assert ended.code == 5
