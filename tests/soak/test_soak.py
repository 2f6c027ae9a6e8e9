"""The soak in short, and that it would see a leak."""

import dataclasses

import pytest

from tests.soak.judgement import Sample, findings, leftovers, slope_mib_per_s
from tests.soak.soak import Plan, Soaked

BUSY = ("breaker attempts", "breaker tickets", "bulkhead running", "bulkhead queued", "limit tickets", "flights' steps")
"""What a sample of the short soak shows at least once: else it is no proof that it was given back."""
AT_REST = Sample(0.0, 100.0, 30, 0, {"tasks": 20, "places": 0, "attempts": 0})


def growing(mib_per_s, seconds):
    return [Sample(float(at), 100 + at * mib_per_s + at % 3, 30, 0) for at in range(0, seconds, 10)]


async def test_the_service_holds_nothing_when_everything_has_ended(tmp_path):
    report = await Soaked(tmp_path, Plan(seconds=4, load=0.6, measuring_s=0.7, samples=40, kill_every_s=1.5)).run()
    assert report.findings == []
    assert report.kills >= 2
    assert sum(report.outcomes.values()) > 50
    for held in BUSY:
        assert any(each.holdings[held] for each in report.samples), f"no sample has {held}"


async def test_what_is_leaked_is_found(tmp_path):
    """Negative control."""
    plan = Plan(seconds=2, measuring_s=0.5, samples=20, quiet_within_s=3, leaks="files,tasks,permits")
    found = {each.partition(":")[0] for each in (await Soaked(tmp_path, plan).run()).findings}
    assert found >= {"files", "tasks", "breaker attempts", "bulkhead running"}


@pytest.mark.parametrize(
    ("mib_per_s", "seconds", "is_found"),
    [(0.0, 1800, False), (0.01, 1800, False), (0.05, 1800, True), (0.5, 60, False), (5.0, 60, True)],
)
def test_memory_is_flat_when_its_line_is(mib_per_s, seconds, is_found):
    samples = growing(mib_per_s, seconds)
    assert slope_mib_per_s(samples) == pytest.approx(mib_per_s, abs=0.05)
    assert any(found.startswith("memory") for found in findings(AT_REST, samples, AT_REST)) == is_found


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"files": 34}, []),
        ({"files": 35}, ["files: 35, 30 at the beginning"]),
        ({"connections": 1}, ["connections: 1"]),
        ({"holdings": {"tasks": 22}}, []),
        ({"holdings": {"tasks": 23}}, ["tasks: 23, 20 at the beginning"]),
        ({"holdings": {"places": 1, "attempts": 2}}, ["places: 1", "attempts: 2"]),
    ],
)
def test_what_is_left_over_is_told(change, found):
    assert leftovers(AT_REST, dataclasses.replace(AT_REST, **change)) == found
