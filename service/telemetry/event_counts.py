"""Counts what the log recorded, event by event, so that the counters equal the log's own figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import Counter

from podium.v1 import events_pb2 as e
from service.telemetry.labels import Reasons, ToolLabels
from service.telemetry.metrics import Metrics
from service.telemetry.trails import WORKFLOW_ENDINGS, Trail

_US_PER_S = 1_000_000
_STEP_OUTCOMES: dict[type, str] = {
    e.StepSucceeded: "succeeded",
    e.StepFailed: "failed",
    e.StepDenied: "denied",
    e.StepSkipped: "skipped",
    e.StepCanceled: "canceled",
}
_WORKFLOW_OUTCOMES: dict[type, str] = {
    e.WorkflowStarted: "started",
    e.WorkflowSucceeded: "succeeded",
    e.WorkflowFailed: "failed",
    e.WorkflowCanceled: "canceled",
}
_LOST = "EXECUTOR_LOST"


class EventCounts:
    """Counts events. Steps that wait are known by name, the one that has waited longest first."""

    def __init__(self, metrics: Metrics, tools_max: int) -> None:
        self._metrics = metrics
        self.tools = ToolLabels(tools_max)
        self._reasons = Reasons()
        self._tenants = ToolLabels(tools_max)
        # Asking a metric for the series of a label costs more than to count.
        self._types: dict[str, Counter] = {}
        self.waiting: dict[tuple[str, str, str], int] = {}
        """(tenant, workflow, step) → since when, microseconds since the Unix epoch."""
        self._of_step: dict[type, Callable[[Trail, Any, int], None]] = {
            e.StepQueued: self._queued,
            e.AttemptStarted: self._attempt_started,
            e.AttemptFailed: self._attempt_failed,
            e.AttemptAbandoned: self._attempt_abandoned,
            e.AttemptRejected: self._attempt_rejected,
            e.StepSucceeded: self._succeeded,
            e.StepDenied: self._denied,
            e.RateLimited: self._rate_limited,
            e.FallbackTried: self._fallback_tried,
            e.CacheHit: self._cache_hit,
        }
        self._others: dict[type, Callable[[str, Any], None]] = {
            e.BreakerTransitioned: self._breaker_transitioned,
            e.CacheInvalidated: self._cache_invalidated,
            e.CacheFailed: self._cache_failed,
            e.ToolHealthChanged: self._health_changed,
            e.AuthenticationFailed: self._authentication_failed,
            e.RequestDenied: self._request_denied,
            e.SubmissionRefused: self._submission_refused,
        }

    def resume(self, trail: Trail) -> None:
        """A workflow was open before this process began."""
        for step_id, step in trail.steps.items():
            if step.queued_us:
                self.waiting[trail.tenant, trail.workflow_id, step_id] = step.queued_us

    def count_type(self, name: str) -> None:
        """Count an event by the name of its type."""
        counter = self._types.get(name)
        if counter is None:
            counter = self._types[name] = self._metrics.events.labels(name)
        counter.inc()

    def count_beside(self, tenant: str, payload: Any) -> None:  # noqa: ANN401 - any event
        """Count an event of a stream that is no workflow."""
        counting = self._others.get(type(payload))
        if counting is not None:
            counting(tenant, payload)

    def count(self, trail: Trail, payload: Any, at_us: int) -> None:  # noqa: ANN401 - any event
        """Count an event of a workflow, whose trail is as it was before the event."""
        kind = type(payload)
        outcome = _STEP_OUTCOMES.get(kind)
        if outcome is not None:
            self._metrics.steps.labels(*self._tool(trail, payload), outcome).inc()
            self.waiting.pop((trail.tenant, trail.workflow_id, payload.step_id), None)
        counting = self._of_step.get(kind)
        if counting is not None:
            counting(trail, payload, at_us)
        elif kind in _WORKFLOW_OUTCOMES:
            self._metrics.workflows.labels(self._tenant(trail.tenant), _WORKFLOW_OUTCOMES[kind]).inc()
            if kind in WORKFLOW_ENDINGS:
                for step_id in trail.steps:
                    self.waiting.pop((trail.tenant, trail.workflow_id, step_id), None)

    def _tool(self, trail: Trail, payload: Any) -> tuple[str, str]:  # noqa: ANN401 - any event of a step
        return self.tools.of(trail.tenant, trail.tool_of(payload.step_id))

    def _tenant(self, tenant: str) -> str:
        return self._tenants.of(tenant, "")[0]

    def _queued(self, trail: Trail, event: e.StepQueued, at_us: int) -> None:
        self.waiting.setdefault((trail.tenant, trail.workflow_id, event.step_id), at_us)

    def _attempt_started(self, trail: Trail, event: e.AttemptStarted, at_us: int) -> None:
        tool = self._tool(trail, event)
        self._metrics.attempts.labels(*tool).inc()
        since_us = self.waiting.pop((trail.tenant, trail.workflow_id, event.step_id), None)
        if since_us is not None:
            self._metrics.queue_time.labels(*tool).observe((at_us - since_us) / _US_PER_S)

    def _attempt_ended(self, trail: Trail, event: e.StepSucceeded | e.AttemptFailed, at_us: int) -> None:
        step = trail.steps.get(event.step_id)
        if step is not None and step.attempt_us and step.attempt == event.attempt:
            seconds = (at_us - step.attempt_us) / _US_PER_S
            self._metrics.duration.labels(*self._tool(trail, event)).observe(seconds)

    def _attempt_failed(self, trail: Trail, event: e.AttemptFailed, at_us: int) -> None:
        self._attempt_ended(trail, event, at_us)
        reason = self._reasons.of(event.failure.reason)
        self._metrics.failed.labels(*self._tool(trail, event), reason).inc()
        if reason == _LOST:
            self._metrics.attempts_lost.inc()

    def _attempt_abandoned(self, trail: Trail, event: e.AttemptAbandoned, _at_us: int) -> None:
        self._metrics.abandoned.labels(*self._tool(trail, event)).inc()

    def _attempt_rejected(self, trail: Trail, event: e.AttemptRejected, _at_us: int) -> None:
        self.waiting.pop((trail.tenant, trail.workflow_id, event.step_id), None)
        self._metrics.rejected.labels(*self._tool(trail, event), event.guard).inc()

    def _succeeded(self, trail: Trail, event: e.StepSucceeded, at_us: int) -> None:
        self._attempt_ended(trail, event, at_us)
        if event.degraded_by:
            self._metrics.degraded.labels(*self._tool(trail, event)).inc()

    def _denied(self, trail: Trail, event: e.StepDenied, _at_us: int) -> None:
        self._metrics.denials.labels(*self._tool(trail, event), event.guard).inc()

    def _rate_limited(self, trail: Trail, event: e.RateLimited, _at_us: int) -> None:
        self._metrics.rate_limited.labels(*self._tool(trail, event)).inc()

    def _fallback_tried(self, trail: Trail, event: e.FallbackTried, _at_us: int) -> None:
        self._metrics.fallbacks.labels(*self._tool(trail, event)).inc()

    def _cache_hit(self, trail: Trail, event: e.CacheHit, _at_us: int) -> None:
        kind = "stale" if event.stale else "coalesced" if event.coalesced else "fresh"
        self._metrics.cache_hits.labels(*self._tool(trail, event), kind).inc()

    def _breaker_transitioned(self, tenant: str, event: e.BreakerTransitioned) -> None:
        tool = self.tools.of(tenant, event.tool)
        self._metrics.breaker_transitions.labels(*tool, _state(event.to_state)).inc()
        self.breaker_is(tenant, event)

    def breaker_is(self, tenant: str, event: e.BreakerTransitioned) -> None:
        """Tell the state of a breaker after its last transition."""
        tool = self.tools.of(tenant, event.tool)
        for state in e.BreakerState.values():
            if state:
                self._metrics.breaker_state.labels(*tool, _state(state)).set(state == event.to_state)

    def _cache_invalidated(self, tenant: str, _event: e.CacheInvalidated) -> None:
        self._metrics.cache_invalidations.labels(self._tenant(tenant)).inc()

    def _cache_failed(self, _tenant: str, event: e.CacheFailed) -> None:
        self._metrics.cache_failures.labels(event.operation).inc(event.count)

    def _health_changed(self, tenant: str, event: e.ToolHealthChanged) -> None:
        healthy = str(event.healthy).lower()
        self._metrics.health_changes.labels(*self.tools.of(tenant, event.tool), healthy).inc()

    def _authentication_failed(self, _tenant: str, event: e.AuthenticationFailed) -> None:
        self._metrics.refusals.labels("authentication", event.reason).inc(event.count)

    def _request_denied(self, _tenant: str, event: e.RequestDenied) -> None:
        self._metrics.refusals.labels("denied", self._reasons.of(event.reason)).inc(event.count)

    def _submission_refused(self, _tenant: str, event: e.SubmissionRefused) -> None:
        self._metrics.refusals.labels("submission", self._reasons.of(event.reason)).inc(event.count)


def _state(state: int) -> str:
    return e.BreakerState.Name(e.BreakerState.ValueType(state)).removeprefix("BREAKER_STATE_").lower()
