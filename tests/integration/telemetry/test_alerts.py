"""The example alerts ask for nothing that a running service does not export."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from podium.v1 import events_pb2
from service.telemetry.event_counts import EventCounts
from service.telemetry.labels import ToolLabels
from service.telemetry.metrics import Metrics
from tests.integration.rig.observed import Scrape, mixed_run

ALERTS = Path(__file__).parents[3] / "docs" / "alerts.yaml"
SUFFIXES = ("_total", "_bucket", "_count", "_sum")
GOES_WITH = {"podium_attempts_failed_total": "podium_attempts_total"}
"""Metrics that have a series only where another one has, by tenant and tool: an attempt that failed was started."""
MINUTES = {"m": 1, "h": 60}


def rules():
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def asked_for(expression):
    """What an expression names: {metric: labels}, and the labels by which it groups with those of every metric."""
    grouped = {label.strip() for by in re.findall(r"\bby\s*\(([^)]*)\)", expression) for label in by.split(",")}
    named = {}
    for metric, selector in re.findall(r"\b(podium_\w+)(?:\{([^}]*)\})?", expression):
        named.setdefault(metric, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector), grouped)
    return named


def unmet(expression, exported):
    """What an expression asks for that is not exported: {metric: labels} of what is."""
    missing = [metric for metric in asked_for(expression) if metric not in exported]
    for metric, labels in asked_for(expression).items():
        missing += [f"{metric}.{label}" for label in labels - exported.get(metric, labels)]
    return missing


def comparisons(expression):
    """(left, right) of each comparison that is not within parentheses."""
    # Selectors compare too, but labels.
    plain = re.sub(r"\{[^}]*\}", lambda selector: " " * len(selector[0]), expression)
    depth = [plain[:place].count("(") - plain[:place].count(")") for place in range(len(plain))]
    parts, begins = [], 0
    for joint in re.finditer(r"\b(?:and|or|unless)\b", plain):
        if not depth[joint.start()]:
            parts.append((begins, joint.start()))
            begins = joint.end()
    for begin, end in [*parts, (begins, len(plain))]:
        for sign in re.finditer(r"[=!<>]=|[<>]", plain[begin:end]):
            if not depth[begin + sign.start()]:
                left, right = expression[begin : begin + sign.start()], expression[begin + sign.end() : end]
                yield " ".join(left.split()), " ".join(right.split())


def one_sided(expression):
    """The comparisons whose right side may have no series for what the left side has one for: they are never true."""
    found = []
    for left, right in comparisons(expression):
        ours, theirs = asked_for(left), asked_for(right)
        stands_in = f" or 0 * {left}" in right
        goes_with = "offset" not in right and {GOES_WITH.get(metric) for metric in ours} == set(theirs)
        if ours and theirs and not stands_in and not goes_with:
            found.append(f"{left} with {right}")
    return found


def minutes(duration):
    return int(duration[:-1]) * MINUTES[duration[-1]]


def too_late(rule):
    """Whether an increase is out of sight before the alert has lasted for as long as it must."""
    looked_back = [minutes(each) for each in re.findall(r"increase\([^)]*\[(\w+)\]", rule["expr"])]
    return any(each <= minutes(rule.get("for", "0m")) for each in looked_back)


def exported_by(scrape, declared):
    """The series that a service has, and the labels of those that need something rare to happen."""
    found = {}
    for name, labels in declared.items():
        family = next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
        assert family in scrape.declared, f"{family} is declared and not exported"
        found[name] = scrape.labels(name) if scrape.labels(name) is not None else labels
    return found


def declared_series():
    """Every series that is declared, by the names that it is exported under."""
    registry = Metrics().registry
    series = {}
    for collector in registry._collector_to_names:  # noqa: SLF001 - the registry tells no labels of what has no series
        labels = set(getattr(collector, "labelnames", getattr(collector, "_labelnames", ())))
        for name in registry._collector_to_names[collector]:  # noqa: SLF001
            series[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return {
        name: labels
        for name, labels in series.items()
        if name.startswith("podium_") and not name.endswith("_created") and _is_exported(name, series)
    }


def _is_exported(name, series):
    # A counter is registered under its bare name as well, and a histogram too.
    return name.endswith(SUFFIXES) or not any(f"{name}{suffix}" in series for suffix in SUFFIXES)


@pytest.fixture
async def exported(observed, serve, calls, tenant):
    await serve()
    await mixed_run(calls(), calls(subject="bob", roles=["agent"]))
    scrape = await observed.scrape_until(lambda scrape: scrape.sums("podium_denials_total", tenant=tenant) == 1)
    return exported_by(scrape, declared_series())


async def test_every_metric_and_label_of_the_alerts_is_exported(exported):
    found = rules()
    assert len(found) >= 10
    assert {rule["alert"]: unmet(rule["expr"], exported) for rule in found} == {rule["alert"]: [] for rule in found}
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in found)


async def test_an_alert_on_what_is_not_exported_is_noticed(exported):
    assert unmet("rate(podium_denials[5m]) > 1", exported) == ["podium_denials"]
    assert unmet('podium_denials_total{reason="x"}', exported) == ["podium_denials_total.reason"]
    assert unmet("sum by (executor) (podium_denials_total)", exported) == ["podium_denials_total.executor"]


def test_no_alert_compares_with_what_may_not_be_there():
    compared = [pair for rule in rules() for pair in comparisons(rule["expr"])]
    assert len(compared) >= 15
    assert [one for rule in rules() for one in one_sided(rule["expr"])] == []


def test_a_comparison_with_what_may_not_be_there_is_noticed():
    now, before = "sum(rate(podium_denials_total[5m]))", "sum(rate(podium_denials_total[1h] offset 10m))"
    assert one_sided(f"{now} > 5 * {before} + 0.1") == [f"{now} with 5 * {before} + 0.1"]
    assert one_sided(f"{now} > 5 * ({before} or 0 * {now}) + 0.1") == []
    assert one_sided("podium_load >= 0.8 and podium_queued_steps > podium_append_queue") != []
    assert list(comparisons('podium_a{b!="c"} == 1 and deriv(podium_d[1m]) > 0')) == [
        ('podium_a{b!="c"}', "1"),
        ("deriv(podium_d[1m])", "0"),
    ]


def test_what_happened_once_is_in_sight_for_as_long_as_its_alert_must_last():
    assert [rule["alert"] for rule in rules() if too_late(rule)] == []
    assert too_late({"expr": "increase(podium_spans_dropped_total[10m]) > 0", "for": "10m"})


def test_the_state_of_a_breaker_has_the_labels_that_alerts_select():
    metrics = Metrics()
    opened = events_pb2.BreakerTransitioned(tool="mail", to_state=events_pb2.BREAKER_STATE_OPEN)
    labels = ToolLabels(tools_max=10)
    metrics.breaker_state.show(lambda: [("acme", "mail", events_pb2.BREAKER_STATE_OPEN)], labels)
    EventCounts(metrics, tools_max=10).count_beside("acme", opened)
    scrape = Scrape(generate_latest(metrics.registry).decode())
    assert scrape.sums("podium_breaker_state", "tenant", "tool", "state")["acme", "mail", "open"] == 1
    assert scrape.sums("podium_breaker_state") == 1
    assert scrape.sums("podium_breaker_transitions_total", "to_state") == {("open",): 1}
