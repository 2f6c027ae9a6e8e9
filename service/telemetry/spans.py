"""Makes spans of recorded events: workflow → step → attempt. The executor's own are children of the attempt's.

Invariant: a span holds names, times and stable reasons. Arguments, outputs and the texts of failures stay in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from podium.v1 import events_pb2 as e
from service.domain.trace_context import span_id
from service.telemetry.trails import Note, StepTrail, Trail

_NS_PER_US = 1000
_NAME_LENGTH = 128
_METHODS: dict[int, str] = {
    e.WORKFLOW_KIND_CALL: "podium.v1.ToolService/CallTool",
    e.WORKFLOW_KIND_BATCH: "podium.v1.ToolService/CallToolBatch",
}
_START = "podium.v1.WorkflowService/StartWorkflow"
_SAMPLED = 1
AttemptName = tuple[str, str, str, int]
"""(tenant, workflow, step, attempt); the attempt is 0 for the step's own span."""
_END_REASONS: dict[type, str] = {
    e.StepDenied: "DENIED",
    e.StepCanceled: "CANCELED",
    e.WorkflowCanceled: "CANCELED",
}


class Spans:
    """Makes spans. They are held until it is known that no transition of a breaker belongs to them any more."""

    def __init__(self, finished: Callable[[list[trace_pb2.Span]], None]) -> None:
        """`finished` takes spans to which nothing will be added."""
        self._finished = finished
        self._held: dict[AttemptName, trace_pb2.Span] = {}
        self._workflow = ("", "")

    def told(self, trail: Trail, event: e.Event, payload: Any) -> None:  # noqa: ANN401 - any event
        """An event of a workflow, whose trail is as it was before the event."""
        if self._workflow != (trail.tenant, trail.workflow_id):
            self.flush()
            self._workflow = (trail.tenant, trail.workflow_id)
        if not trail.trace.sampled:
            return
        kind, at_us = type(payload), event.recorded_at_us
        if kind in (e.StepSucceeded, e.StepFailed, e.StepDenied, e.StepSkipped, e.StepCanceled):
            self._step_ended(trail, payload, at_us)
        elif kind in (e.AttemptFailed, e.AttemptAbandoned):
            step = trail.steps.get(payload.step_id)
            # The failure of an attempt that was abandoned is no second end of it.
            if step is not None and step.attempt:
                reason = payload.failure.reason if kind is e.AttemptFailed else "ABANDONED"
                self._attempt_ended(trail, payload.step_id, step, at_us, reason)
        elif kind in (e.WorkflowSucceeded, e.WorkflowFailed, e.WorkflowCanceled):
            self._workflow_ended(trail, payload, at_us)

    def told_beside(self, event: e.Event, payload: Any) -> None:  # noqa: ANN401 - any event
        """An event of a stream that is no workflow: a breaker's is in the append of the outcome that caused it."""
        if type(payload) is not e.BreakerTransitioned:
            return
        for attempt in (payload.attempt, 0):
            span = self._held.get((event.tenant, payload.workflow_id, payload.step_id, attempt))
            if span is not None:
                state = e.BreakerState.Name(payload.to_state).removeprefix("BREAKER_STATE_").lower()
                attributes = (("podium.breaker.state", state), ("podium.breaker.reason", payload.reason))
                _add(span, Note("breaker transition", event.recorded_at_us, attributes))
                return

    def flush(self) -> None:
        """Let go of the spans that were held."""
        if self._held:
            finished, self._held = list(self._held.values()), {}
            self._finished(finished)

    def _step_ended(self, trail: Trail, payload: Any, at_us: int) -> None:  # noqa: ANN401 - an end of a step
        step_id = payload.step_id
        step = trail.steps.get(step_id) or StepTrail(trail.tool_of(step_id), at_us)
        kind = type(payload)
        reason = payload.failure.reason if kind in (e.StepFailed, e.StepDenied) else _END_REASONS.get(kind, "")
        if step.attempt:
            self._attempt_ended(trail, step_id, step, at_us, reason)
        span = self._span(trail, f"step {step.tool}", (step_id, 0), step.started_us, at_us)
        span.parent_span_id = bytes.fromhex(span_id(trail.tenant, trail.workflow_id))
        span.attributes.extend(_attributes([("gen_ai.tool.name", step.tool), ("podium.step.id", step_id)]))
        for note in step.notes:
            _add(span, note)
        if kind is e.StepDenied:
            _add(span, Note("denied", at_us, (("podium.guard", payload.guard), ("error.type", reason))))
        if kind is e.StepSucceeded and payload.degraded_by:
            span.attributes.extend(_attributes([("podium.fallback.link", str(payload.degraded_by))]))
        _end(span, reason)

    def _attempt_ended(self, trail: Trail, step_id: str, step: StepTrail, at_us: int, reason: str) -> None:
        span = self._span(trail, f"execute_tool {step.tool}", (step_id, step.attempt), step.attempt_us, at_us)
        span.parent_span_id = bytes.fromhex(span_id(trail.tenant, trail.workflow_id, step_id))
        attributes = [
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", step.tool),
            ("gen_ai.tool.call.id", f"{trail.workflow_id}/{step_id}"),
            ("podium.step.id", step_id),
            ("podium.executor", step.executor),
        ]
        span.attributes.extend(_attributes(attributes))
        number = common_pb2.AnyValue(int_value=step.attempt)
        span.attributes.append(common_pb2.KeyValue(key="podium.attempt", value=number))
        _end(span, reason)

    def _workflow_ended(self, trail: Trail, payload: Any, at_us: int) -> None:  # noqa: ANN401 - an end of a workflow
        kind = type(payload)
        for step_id in list(trail.steps):
            # What still runs is not wanted any more.
            self._step_ended(trail, e.StepCanceled(step_id=step_id), at_us)
        reason = payload.failure.reason if kind is e.WorkflowFailed else _END_REASONS.get(kind, "")
        span = self._span(trail, "workflow", ("", 0), trail.started_us, at_us)
        span.kind = trace_pb2.Span.SPAN_KIND_SERVER
        span.parent_span_id = bytes.fromhex(trail.trace.parent_span_id)
        attributes = [("rpc.system.name", "grpc"), ("rpc.method", _METHODS.get(trail.kind, _START))]
        attributes += [("podium.workflow.name", trail.name[:_NAME_LENGTH])] if trail.name else []
        span.attributes.extend(_attributes(attributes))
        _end(span, reason)

    def _span(self, trail: Trail, name: str, of: tuple[str, int], start_us: int, end_us: int) -> trace_pb2.Span:
        tenant, workflow_id = trail.tenant, trail.workflow_id
        span = trace_pb2.Span(
            trace_id=bytes.fromhex(trail.trace.trace_id),
            span_id=bytes.fromhex(span_id(tenant, workflow_id, *of)),
            name=name,
            kind=trace_pb2.Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=start_us * _NS_PER_US,
            end_time_unix_nano=end_us * _NS_PER_US,
            flags=_SAMPLED,
        )
        span.attributes.extend(_attributes([("podium.tenant", tenant), ("podium.workflow.id", workflow_id)]))
        self._held[(tenant, workflow_id, *of)] = span
        return span


def _attributes(pairs: Iterable[tuple[str, str]]) -> list[common_pb2.KeyValue]:
    return [
        common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(string_value=value)) for key, value in pairs if value
    ]


def _add(span: trace_pb2.Span, note: Note) -> None:
    attributes = _attributes(note.attributes)
    span.events.add(time_unix_nano=note.at_us * _NS_PER_US, name=note.name, attributes=attributes)


def _end(span: trace_pb2.Span, reason: str) -> None:
    if reason:
        span.attributes.extend(_attributes([("error.type", reason)]))
        span.status.code = trace_pb2.Status.STATUS_CODE_ERROR
