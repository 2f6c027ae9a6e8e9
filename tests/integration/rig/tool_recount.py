"""Counts what tools did from a log in the plainest way there is: each step's events by themselves, one by one."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from podium.v1 import events_pb2 as e

OPEN = (e.BREAKER_STATE_OPEN, e.BREAKER_STATE_FORCED_OPEN)
PLAINLY_COUNTED = {
    "step_succeeded": "succeeded",
    "step_failed": "failed",
    "step_denied": "denied",
    "rate_limited": "rate_limited",
    "attempt_started": "attempts",
    "attempt_abandoned": "abandoned",
}


@dataclass
class Recounted:
    """A tool: counts, errors by reason, and every single latency and time in a queue, in microseconds."""

    counts: Counter = field(default_factory=Counter)
    errors: Counter = field(default_factory=Counter)
    latency: list = field(default_factory=list)
    queue_time: list = field(default_factory=list)


def recount(events, is_counted=lambda _at_us: True):
    """Each tool of events of one tenant. Only what happened at times that `is_counted` counts."""
    told = defaultdict(Recounted)
    tools, steps, items = {}, defaultdict(list), set()
    for event in events:
        kind = event.WhichOneof("payload")
        payload = getattr(event, kind)
        if kind == "steps_added":
            for step in payload.steps:
                tools[event.stream_id, step.id] = step.tool
                if step.HasField("for_each"):
                    items.add((event.stream_id, step.id))
        elif kind == "breaker_transitioned":
            if payload.to_state in OPEN and payload.from_state not in OPEN and is_counted(event.recorded_at_us):
                told[payload.tool].counts["breaker_opened"] += 1
        elif getattr(payload, "step_id", ""):
            steps[event.stream_id, payload.step_id].append((event.recorded_at_us, kind, payload))
    for (stream_id, step_id), happened in steps.items():
        if (stream_id, step_id) not in items:
            own = tools[stream_id, step_id.partition("[")[0]]
            _recount_step(told, own, happened, is_counted)
    return {tool: each for tool, each in told.items() if each != Recounted()}


def _recount_step(told, own, happened, is_counted):
    tool, queued_at, started_at = own, None, None
    for at, kind, payload in happened:
        counted = told[tool] if tool and is_counted(at) else Recounted()
        _count(counted.counts, kind, payload)
        if kind == "attempt_started":
            counted.queue_time += [] if queued_at is None else [at - queued_at]
            started_at = at
        elif kind == "attempt_failed":
            counted.errors[payload.failure.reason] += 1
        elif kind == "cache_hit" and is_counted(at):
            told[payload.tool].counts.update({"cache_hits": 1, "cache_stale": int(payload.stale)})
        has_ended = kind == "attempt_failed" or (kind == "step_succeeded" and payload.attempt)
        if has_ended and started_at is not None:
            counted.latency.append(at - started_at)
        if kind == "step_succeeded" and payload.degraded_by and is_counted(at):
            told[own].counts["degraded"] += 1
        if kind == "fallback_tried":
            tool = payload.tool
        if kind == "step_queued":
            queued_at = at
        elif kind in ("attempt_started", "attempt_rejected", "fallback_tried"):
            queued_at = None


def _count(counts, kind, payload):
    if kind in PLAINLY_COUNTED:
        counts[PLAINLY_COUNTED[kind]] += 1
    elif kind == "attempt_rejected":
        counts[f"{payload.guard}_rejected"] += 1
    elif kind == "fallback_tried":
        counts["denied" if payload.guard else "failed"] += 1


def exact_percentile(values, percent):
    """The value that so many percent are at most."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def differences(told, recounted):
    """What ToolStatistics by tool tell otherwise than a recount, in words; empty: nothing."""
    found = [f"tools {sorted(told)} and not {sorted(recounted)}"] if told.keys() != recounted.keys() else []
    for tool in told.keys() & recounted.keys():
        statistics, exact = told[tool], recounted[tool]
        counts = {name: getattr(statistics, name) for name in COUNTS}
        found += [
            f"{tool}: {name} {n} and not {exact.counts[name]}" for name, n in counts.items() if n != exact.counts[name]
        ]
        if {error.reason: error.count for error in statistics.errors} != dict(exact.errors):
            found.append(f"{tool}: errors {statistics.errors} and not {exact.errors}")
        for name in ("latency", "queue_time"):
            found += [
                f"{tool}: {name} {each}" for each in _differences(getattr(statistics, name), getattr(exact, name))
            ]
    return found


COUNTS = (
    "succeeded",
    "failed",
    "denied",
    "attempts",
    "cache_hits",
    "cache_stale",
    "breaker_rejected",
    "breaker_opened",
    "bulkhead_rejected",
    "rate_limited",
    "degraded",
    "abandoned",
)


def _differences(latency, values):
    if latency.count != len(values):
        return [f"{latency.count} and not {len(values)}"]
    if not values:
        return []
    exact = {"max_us": max(values), "mean_us": sum(values) / len(values)}
    found = [f"{name} {value}" for name, value in exact.items() if not math.isclose(getattr(latency, name), value)]
    for percent in (50, 90, 99):
        told, value = getattr(latency, f"p{percent}_us"), exact_percentile(values, percent)
        # What a sketch promises, and what the last digit of a number costs.
        if abs(told - value) > 0.0100001 * value:
            found.append(f"p{percent} {told} and not {value}")
    return found
