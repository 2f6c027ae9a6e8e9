"""Figures of the running process, read when somebody asks for the metrics, from whatever thread that is.

So each is one look at a number or a length, never a walk over what the loop may be changing; where each
tool has one, the tools are copied in one step first.
"""

from __future__ import annotations

from functools import partial

from service.projections.runner import ProjectionRunner
from service.telemetry.event_counts import EventCounts
from service.telemetry.follower import Follower
from service.telemetry.labels import ToolLabels
from service.telemetry.metrics import MemoryMetrics, Metrics
from service.telemetry.switch import Observed
from store.contract import Clock

_US_PER_S = 1_000_000


def show(
    metrics: Metrics, process: Observed, follower: Follower, counts: EventCounts, clock: Clock, *, pools_max: int
) -> None:
    """Let the metrics show the figures; of pools of executors so many by name."""
    engine, store = process.engine, process.store
    metrics.running.set_function(lambda: len(engine.attempts))
    metrics.resident.set_function(lambda: len(engine.residency))
    metrics.sessions.set_function(process.sessions)
    metrics.queued_steps.set_function(lambda: len(counts.waiting))
    metrics.queue_age.set_function(lambda: _age_s(counts, clock))
    metrics.append_queue.set_function(lambda: store.waiting_appends)
    metrics.append_queue_limit.set(process.waiting_appends_limit)
    metrics.head.set_function(lambda: store.head)
    metrics.telemetry_lag.set_function(lambda: follower.lag)
    for runner in process.runners:
        metrics.projection_lag.labels(runner.name).set_function(partial(_lag, runner))
        metrics.projection_up.labels(runner.name).set_function(partial(_up, runner))
    store.measure(partial(_committed, metrics))

    metrics.load.set_function(lambda: process.load.level)
    metrics.loop_lag.set_function(lambda: process.lag.late_s)
    _show_by_tool(metrics.of_memory, process, counts.tools)
    metrics.breaker_state.show(process.breakers.states, counts.tools)
    metrics.pools.show(engine.dispatcher.pools, pools_max)


def _show_by_tool(metrics: MemoryMetrics, process: Observed, labels: ToolLabels) -> None:
    cache, bulkheads = process.cache.all_figures, process.bulkheads.figures
    metrics.cache_misses.show(lambda: ((*tool, of.misses) for tool, of in cache()), labels)
    metrics.cache_evictions.show(lambda: ((*tool, of.evictions) for tool, of in cache()), labels)
    metrics.cache_errors.show(lambda: ((*tool, of.errors) for tool, of in cache()), labels)
    metrics.cache_bytes.show(lambda: ((*tool, of.size_bytes) for tool, of in cache()), labels)
    metrics.bulkhead_running.show(lambda: ((*tool, running) for tool, running, _ in bulkheads()), labels)
    metrics.bulkhead_queued.show(lambda: ((*tool, queued) for tool, _, queued in bulkheads()), labels)


def _age_s(counts: EventCounts, clock: Clock) -> float:
    try:
        since_us = next(iter(counts.waiting.values()))
    except (StopIteration, RuntimeError):
        # Nothing waits, or it changed at this moment.
        return 0.0
    return max(0.0, (clock.now_us() - since_us) / _US_PER_S)


def _lag(runner: ProjectionRunner) -> int:
    return runner.lag


def _up(runner: ProjectionRunner) -> bool:
    return not runner.problem


def _committed(metrics: Metrics, events: int, seconds: float) -> None:
    metrics.commit_seconds.observe(seconds)
    metrics.commit_events.observe(events)
