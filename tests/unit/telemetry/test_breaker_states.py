"""The metric of the states of breakers: as many series as there may be, and one state for each tool that has some."""

from prometheus_client import generate_latest

from podium.v1 import events_pb2 as e
from service.telemetry.labels import ToolLabels
from service.telemetry.metrics import Metrics
from tests.integration.rig.observed import Scrape


def shown(*states, tools_max=10):
    metrics = Metrics()
    metrics.breaker_state.show(lambda: states, ToolLabels(tools_max))
    scrape = Scrape(generate_latest(metrics.registry).decode())
    return scrape.sums("podium_breaker_state", "tenant", "tool", "state")


def test_a_breaker_has_a_series_for_each_state_and_is_in_one():
    found = shown(("acme", "mail", e.BREAKER_STATE_HALF_OPEN))
    assert len(found) == len(e.BreakerState.values()) - 1
    assert [labels for labels, value in found.items() if value] == [("acme", "mail", "half_open")]


def test_without_breakers_there_is_no_series():
    assert shown() == {}


def test_tools_that_share_a_label_are_in_each_state_that_one_of_them_is_in():
    found = shown(
        ("acme", "mail", e.BREAKER_STATE_CLOSED),
        *(("acme", f"tool{number}", e.BREAKER_STATE_OPEN) for number in range(3)),
        ("acme", "last", e.BREAKER_STATE_CLOSED),
        tools_max=1,
    )
    # An alert compares it with 1.
    assert {labels: value for labels, value in found.items() if value} == {
        ("acme", "mail", "closed"): 1,
        ("other", "other", "open"): 1,
        ("other", "other", "closed"): 1,
    }
