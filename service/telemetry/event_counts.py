"""Counts what the log recorded, event by event, so that the counters equal the log's own figures.

Invariant: what is counted by tool is counted of the tool of which the statistics count it (see
service.projections.tool_runs).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import Counter

from podium.v1 import events_pb2 as e
from service.telemetry.breaker_states import state_name
from service.telemetry.labels import Reasons, ToolLabels
from service.telemetry.metrics import Metrics
from service.telemetry.trails import WORKFLOW_ENDINGS, StepTrail, Trail

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
_NO_LONGER_WAITING = frozenset({*_STEP_OUTCOMES, e.AttemptStarted, e.AttemptRejected, e.FallbackTried})
_OF_A_USE = _NO_LONGER_WAITING | {e.AttemptFailed, e.AttemptAbandoned, e.RateLimited}
_NOTHING_BEGAN = StepTrail("", 0)


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
        self._of_use: dict[type, Callable[[tuple[str, str], StepTrail, Any, int], None]] = {
            e.AttemptStarted: self._attempt_started,
            e.AttemptFailed: self._attempt_failed,
            e.AttemptAbandoned: self._attempt_abandoned,
            e.AttemptRejected: self._attempt_rejected,
            e.StepSucceeded: self._attempt_succeeded,
            e.StepDenied: self._denied,
            e.RateLimited: self._rate_limited,
            e.FallbackTried: self._given_up,
        }
        self._of_step: dict[type, Callable[[Trail, Any, int], None]] = {
            e.StepQueued: self._queued,
            e.StepSucceeded: self._succeeded,
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
        if kind in _WORKFLOW_OUTCOMES:
            self._metrics.workflows.labels(self._tenant(trail.tenant), _WORKFLOW_OUTCOMES[kind]).inc()
            if kind in WORKFLOW_ENDINGS:
                for step_id in trail.steps:
                    self.waiting.pop((trail.tenant, trail.workflow_id, step_id), None)
            return
        if kind in _OF_A_USE:
            self._count_use(trail, kind, payload, at_us)
        counting = self._of_step.get(kind)
        if counting is not None:
            counting(trail, payload, at_us)

    def _count_use(self, trail: Trail, kind: type, payload: Any, at_us: int) -> None:  # noqa: ANN401 - any event of a step
        """Count what happened to a step's use of a tool, as the statistics of tools do.

        A step uses its own tool, or that of the link it has come to, or none; each use ends once.
        """
        step_id = payload.step_id
        if kind in _NO_LONGER_WAITING:
            self.waiting.pop((trail.tenant, trail.workflow_id, step_id), None)
        used = trail.used_by(step_id)
        if not used:
            return
        tool = self.tools.of(trail.tenant, used)
        outcome = _STEP_OUTCOMES.get(kind)
        if outcome is not None:
            self._metrics.steps.labels(*tool, outcome).inc()
        counting = self._of_use.get(kind)
        if counting is not None:
            counting(tool, trail.steps.get(step_id) or _NOTHING_BEGAN, payload, at_us)

    def _tenant(self, tenant: str) -> str:
        return self._tenants.of(tenant, "")[0]

    def _own_tool(self, trail: Trail, step_id: str) -> tuple[str, str]:
        return self.tools.of(trail.tenant, trail.own_tool(step_id))

    def _queued(self, trail: Trail, event: e.StepQueued, at_us: int) -> None:
        self.waiting.setdefault((trail.tenant, trail.workflow_id, event.step_id), at_us)

    def _attempt_started(self, tool: tuple[str, str], step: StepTrail, _event: e.AttemptStarted, at_us: int) -> None:
        self._metrics.attempts.labels(*tool).inc()
        if step.queued_us:
            self._metrics.queue_time.labels(*tool).observe((at_us - step.queued_us) / _US_PER_S)

    def _attempt_ended(self, tool: tuple[str, str], step: StepTrail, at_us: int) -> None:
        if step.attempt_us:
            self._metrics.duration.labels(*tool).observe((at_us - step.attempt_us) / _US_PER_S)

    def _attempt_failed(self, tool: tuple[str, str], step: StepTrail, event: e.AttemptFailed, at_us: int) -> None:
        self._attempt_ended(tool, step, at_us)
        self._metrics.failed.labels(*tool, self._reasons.of(event.failure.reason)).inc()
        if event.failure.reason == _LOST:
            self._metrics.attempts_lost.inc()

    def _attempt_succeeded(self, tool: tuple[str, str], step: StepTrail, event: e.StepSucceeded, at_us: int) -> None:
        if event.attempt:
            self._attempt_ended(tool, step, at_us)

    def _attempt_abandoned(
        self, tool: tuple[str, str], _step: StepTrail, _event: e.AttemptAbandoned, _at_us: int
    ) -> None:
        self._metrics.abandoned.labels(*tool).inc()

    def _attempt_rejected(self, tool: tuple[str, str], _step: StepTrail, event: e.AttemptRejected, _at_us: int) -> None:
        self._metrics.rejected.labels(*tool, event.guard).inc()

    def _denied(self, tool: tuple[str, str], _step: StepTrail, event: e.StepDenied, _at_us: int) -> None:
        self._metrics.denials.labels(*tool, event.guard).inc()

    def _rate_limited(self, tool: tuple[str, str], _step: StepTrail, _event: e.RateLimited, _at_us: int) -> None:
        self._metrics.rate_limited.labels(*tool).inc()

    def _given_up(self, tool: tuple[str, str], _step: StepTrail, event: e.FallbackTried, _at_us: int) -> None:
        """A link takes the place of the tool before it, with which the step failed or was denied."""
        self._metrics.steps.labels(*tool, "denied" if event.guard else "failed").inc()
        if event.guard:
            self._metrics.denials.labels(*tool, event.guard).inc()

    def _succeeded(self, trail: Trail, event: e.StepSucceeded, _at_us: int) -> None:
        if event.degraded_by:
            self._metrics.degraded.labels(*self._own_tool(trail, event.step_id)).inc()

    def _fallback_tried(self, trail: Trail, event: e.FallbackTried, _at_us: int) -> None:
        self._metrics.fallbacks.labels(*self._own_tool(trail, event.step_id)).inc()

    def _cache_hit(self, trail: Trail, event: e.CacheHit, _at_us: int) -> None:
        kind = "stale" if event.stale else "coalesced" if event.coalesced else "fresh"
        self._metrics.cache_hits.labels(*self.tools.of(trail.tenant, event.tool), kind).inc()

    def _breaker_transitioned(self, tenant: str, event: e.BreakerTransitioned) -> None:
        tool = self.tools.of(tenant, event.tool)
        self._metrics.breaker_transitions.labels(*tool, state_name(event.to_state)).inc()

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
