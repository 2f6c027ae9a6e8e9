"""The metrics by name. What is exported, to Prometheus or OpenTelemetry, is what is declared here.

Invariant: every label but those of tenants, tools and reasons, which `labels` bounds, has a fixed set of values.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from service.telemetry.breaker_states import BreakerStates
from service.telemetry.by_tool import TOOL, ByTool
from service.telemetry.pools import PoolMetrics

DURATION_BUCKETS_S = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 5, 20, 60, 300, 1_800)
COMMIT_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1, 5)
COMMIT_BUCKETS_EVENTS = (1, 4, 16, 64, 256, 1_024)


class MemoryMetrics:
    """Those by tool that are no events: they are in memory, and begin with the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str) -> ByTool:
            return ByTool(CounterMetricFamily, f"podium_{name}", what, registry)

        def gauge(name: str, what: str) -> ByTool:
            return ByTool(GaugeMetricFamily, f"podium_{name}", what, registry)

        self.cache_misses = counter("cache_misses", "Calls whose result was not in the cache.")
        self.cache_evictions = counter("cache_evictions", "Results that made room for others.")
        self.cache_errors = counter("cache_errors", "Times that the cache's server failed.")
        self.cache_bytes = gauge("cache_bytes", "What the results in memory take.")
        self.bulkhead_running = gauge("bulkhead_running", "Attempts that run, of a tool with a bulkhead.")
        self.bulkhead_queued = gauge("bulkhead_queued", "Steps that wait, of a tool with a bulkhead.")


class Metrics:
    """All metrics of the service, in a registry of their own."""

    def __init__(self) -> None:
        # The time at which a series began would be a series more for each.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"podium_{name}", what, labels, registry=registry)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"podium_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"podium_{name}", what, labels, buckets=buckets, registry=registry)

        # From the log.
        self.events = counter("events", "Events that were recorded.", "type")
        self.workflows = counter("workflows", "Workflows and calls, by what happened.", "tenant", "outcome")
        self.steps = counter("steps", "Uses of tools by steps, items and calls that ended, and how.", *TOOL, "outcome")
        self.degraded = counter("steps_degraded", "Steps of the tool whose output came from a fallback.", *TOOL)
        self.attempts = counter("attempts", "Attempts that were started.", *TOOL)
        self.failed = counter("attempts_failed", "Attempts that failed.", *TOOL, "reason")
        self.abandoned = counter("attempts_abandoned", "Attempts that were given up and may still run.", *TOOL)
        self.rejected = counter("attempts_rejected", "Attempts that were not made.", *TOOL, "guard")
        self.duration = histogram("attempt_duration_seconds", "From start to end.", DURATION_BUCKETS_S, *TOOL)
        self.queue_time = histogram("queue_time_seconds", "From queued to started.", DURATION_BUCKETS_S, *TOOL)
        self.denials = counter("denials", "Uses of tools that were denied.", *TOOL, "guard")
        self.rate_limited = counter("rate_limited", "Times a rate limit held a step back.", *TOOL)
        self.refusals = counter("requests_refused", "Requests that were refused.", "kind", "reason")
        self.fallbacks = counter("fallbacks", "Links that steps of the tool came to.", *TOOL)
        self.cache_hits = counter("cache_hits", "Results of the tool that came from the cache.", *TOOL, "kind")
        self.cache_invalidations = counter("cache_invalidations", "Invalidations of the cache.", "tenant")
        self.cache_failures = counter("cache_failures", "Failures of the cache.", "operation")
        self.breaker_transitions = counter("breaker_transitions", "Transitions of breakers.", *TOOL, "to_state")
        self.health_changes = counter("tool_health_changes", "Changes of tools' health.", *TOOL, "healthy")
        # From the process.
        self.load = gauge("load", "How full the service is, from 0 to 1: as full as its fullest part.")
        self.of_memory = MemoryMetrics(registry)
        self.breaker_state = BreakerStates(registry)
        self.pools = PoolMetrics(registry)
        self.queued_steps = gauge("queued_steps", "Steps that wait for a place, a limit or a breaker.")
        self.queue_age = gauge("queue_oldest_age_seconds", "For how long the first of them has waited.")
        self.running = gauge("running_attempts", "Attempts that run.")
        self.resident = gauge("resident_workflows", "Open workflows in memory.")
        self.sessions = gauge("executor_sessions", "Connected executors.")
        self.attempts_lost = counter("executor_attempts_lost", "Attempts whose executor was gone for too long.")
        self.append_queue = gauge("append_queue", "Appends that wait for the writer of the log.")
        self.append_queue_limit = gauge("append_queue_limit", "How many may wait.")
        self.commit_seconds = histogram("group_commit_seconds", "How long a group commit took.", COMMIT_BUCKETS_S)
        self.commit_events = histogram("group_commit_events", "Events of a group commit.", COMMIT_BUCKETS_EVENTS)
        self.head = gauge("log_head_position", "The position of the last event.")
        self.projection_lag = gauge("projection_lag_events", "Events that are not in a read model.", "projection")
        self.projection_up = gauge("projection_up", "1: it follows the log; 0: it has a problem.", "projection")
        self.loop_lag = gauge("loop_lag_seconds", "How late the event loop was.")
        self.telemetry_lag = gauge("telemetry_lag_events", "Events that are not in these figures yet.")
        self.telemetry_errors = counter("telemetry_errors", "Events that could not be counted, or not in time.")
        self.spans_exported = counter("spans_exported", "Spans that the collector took.")
        self.spans_dropped = counter("spans_dropped", "Spans that were thrown away.")
        self.export_failures = counter("export_failures", "Exports that the collector did not take.")
