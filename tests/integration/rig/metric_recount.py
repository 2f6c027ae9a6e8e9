"""What metrics tell of tools, beside a recount of the log by tool_recount."""

import math

from tests.integration.rig.tool_recount import COUNTS

COUNTERS = {
    "succeeded": ("podium_steps_total", {"outcome": "succeeded"}),
    "failed": ("podium_steps_total", {"outcome": "failed"}),
    "denied": ("podium_steps_total", {"outcome": "denied"}),
    "attempts": ("podium_attempts_total", {}),
    "cache_hits": ("podium_cache_hits_total", {}),
    "cache_stale": ("podium_cache_hits_total", {"kind": "stale"}),
    "breaker_rejected": ("podium_attempts_rejected_total", {"guard": "breaker"}),
    "breaker_opened": ("podium_breaker_transitions_total", {"to_state": "open"}),
    "bulkhead_rejected": ("podium_attempts_rejected_total", {"guard": "bulkhead"}),
    "rate_limited": ("podium_rate_limited_total", {}),
    "degraded": ("podium_steps_degraded_total", {}),
    "abandoned": ("podium_attempts_abandoned_total", {}),
}
"""The series of each figure that statistics have. Breakers that go from open to forced open are not among them."""
TIMES = {"latency": "podium_attempt_duration_seconds", "queue_time": "podium_queue_time_seconds"}
_US_PER_S = 1_000_000
assert COUNTERS.keys() == set(COUNTS)


def metric_differences(scrape, tenant, recounted):
    """What the metrics of a tenant tell otherwise than a recount, in words; empty: nothing."""
    exact = {name: {tool: each.counts[name] for tool, each in recounted.items()} for name in COUNTS}
    found = [
        difference
        for name, (series, labels) in COUNTERS.items()
        for difference in _differences(name, _by_tool(scrape, series, tenant, **labels), exact[name])
    ]
    # Each refusal that the statistics know has its guard.
    found += _differences("denials", _by_tool(scrape, "podium_denials_total", tenant), exact["denied"])
    errors = {(tool, reason): n for tool, each in recounted.items() for reason, n in each.errors.items()}
    found += _differences(
        "errors", scrape.sums("podium_attempts_failed_total", "tool", "reason", tenant=tenant), errors
    )
    for name, series in TIMES.items():
        times = {tool: getattr(each, name) for tool, each in recounted.items()}
        counts, sums = (_by_tool(scrape, f"{series}_{part}", tenant) for part in ("count", "sum"))
        found += _differences(f"number of {name}", counts, {tool: len(each) for tool, each in times.items()})
        found += _differences(name, sums, {tool: sum(each) / _US_PER_S for tool, each in times.items()})
    return found


def _by_tool(scrape, series, tenant, **labels):
    return {tool: n for (tool,), n in scrape.sums(series, "tool", tenant=tenant, **labels).items()}


def _differences(name, told, exact):
    keys = sorted(told.keys() | exact.keys())
    pairs = [(key, told.get(key, 0), exact.get(key, 0)) for key in keys]
    return [f"{key}: {name} {ours} and not {n}" for key, ours, n in pairs if not math.isclose(ours, n, abs_tol=1e-9)]
