"""However many tenants, tools and reasons there are, a metric has a bounded number of series."""

from prometheus_client import generate_latest

from podium.v1 import events_pb2, value_pb2
from service.telemetry.event_counts import EventCounts
from service.telemetry.labels import Reasons, ToolLabels
from service.telemetry.metrics import Metrics
from service.telemetry.trails import Trail
from tests.integration.rig.observed import Scrape


def test_the_first_tools_have_names_and_the_rest_count_together():
    labels = ToolLabels(tools_max=2)
    assert [labels.of("a", tool) for tool in ("x", "y", "z", "x")] == [
        ("a", "x"),
        ("a", "y"),
        ("other", "other"),
        ("a", "x"),
    ]
    assert labels.of("b", "x") == ("other", "other")


def test_figures_of_memory_have_as_few_series_and_the_rest_is_one_sum():
    metrics = Metrics()
    metrics.of_memory.cache_misses.show(lambda: [("a", tool, 1) for tool in "vwxyz"], ToolLabels(tools_max=2))
    for _ in range(2):
        scrape = Scrape(generate_latest(metrics.registry).decode())
        found = scrape.sums("podium_cache_misses_total", "tenant", "tool")
        assert found == {("a", "v"): 1, ("a", "w"): 1, ("other", "other"): 3}


def test_a_reason_is_a_short_name_and_there_are_so_many():
    reasons = Reasons(reasons_max=2)
    assert reasons.of("TIMEOUT") == "TIMEOUT"
    assert reasons.of("no such file: /etc/passwd") == reasons.of("") == reasons.of("X" * 100) == "other"
    assert reasons.of("TOOL_ERROR") == "TOOL_ERROR"
    assert reasons.of("ANOTHER") == "other"
    assert reasons.of("TIMEOUT") == "TIMEOUT"


def test_a_flood_of_tools_and_reasons_makes_no_more_series():
    metrics = Metrics()
    counts = EventCounts(metrics, tools_max=5)
    for number in range(500):
        trail = Trail(f"tenant-{number}", "wf_1")
        trail.tools["a"] = f"tool_{number}"
        failure = value_pb2.Failure(reason=f"REASON_{number}")
        counts.count(trail, events_pb2.AttemptFailed(step_id="a", attempt=1, failure=failure), 1)
    lines = generate_latest(metrics.registry).decode().splitlines()
    series = [line for line in lines if line.startswith("podium_attempts_failed_total{")]
    assert len(series) <= (5 + 1) * (64 + 1)
    assert sum(float(line.rpartition(" ")[2]) for line in series) == 500
    # The negative control: without the bound there is a series for each.
    unbounded = Metrics()
    counts = EventCounts(unbounded, tools_max=1_000)
    for number in range(500):
        trail = Trail("t", "wf_1")
        trail.tools["a"] = f"tool_{number}"
        counts.count(trail, events_pb2.AttemptStarted(step_id="a", attempt=1), 1)
    lines = generate_latest(unbounded.registry).decode().splitlines()
    assert len([line for line in lines if line.startswith("podium_attempts_total{")]) == 500
