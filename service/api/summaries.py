"""What callers see of workflows and steps, made from the live state."""

from __future__ import annotations

from collections import Counter

from podium.v1 import tool_service_pb2, value_pb2, workflow_service_pb2
from service.api.parts import event_name
from service.domain import state as s
from service.domain.state import Step
from service.engine.payloads import PayloadCache
from service.engine.resident import Resident
from service.engine.sealing import TenantSeals


def workflow_summary(resident: Resident) -> workflow_service_pb2.WorkflowSummary:
    """A workflow at a glance."""
    state = resident.state
    counts = Counter(step.state for step in state.steps.values())
    return workflow_service_pb2.WorkflowSummary(
        workflow_id=resident.key.workflow_id,
        name=state.name,
        kind=state.kind,  # type: ignore[arg-type]  # the stubs want their NewType; every enum value is an int
        state=state.state,  # type: ignore[arg-type]  # as above
        open=state.open,
        step_counts=[
            workflow_service_pb2.StepCount(state=number, count=count)  # type: ignore[arg-type]  # as above
            for number, count in sorted(counts.items())
        ],
        failure=state.failure if state.state == value_pb2.WORKFLOW_STATE_FAILED else None,
        started_at_us=resident.started_us,
        ended_at_us=resident.ended_us,
        stream_version=resident.version,
        principal=state.authorities[0].principal if state.authorities else None,
        degraded_steps=sum([step.link > 0 and step.state == s.SUCCEEDED for step in state.steps.values()]),
    )


class StepOutput:
    """A step's output as values, the texts of which may still have to be loaded."""

    def __init__(self, step: Step) -> None:
        self._list = step.plan.definition.HasField("for_each") and step.parent is None
        self._values = [item.output if item.state == s.SUCCEEDED else None for item in step.items]
        self._value = step.output
        self._present = step.state == s.SUCCEEDED

    async def text(self, tenant: str, payloads: PayloadCache, seals: TenantSeals) -> str:
        """The JSON text; empty when the step has no output. Raises SealBrokenError."""
        if not self._present:
            return ""
        if not self._list:
            return await _value_text(tenant, self._value, payloads, seals)
        return "[" + ",".join([await _value_text(tenant, value, payloads, seals) for value in self._values]) + "]"


async def _value_text(tenant: str, value: value_pb2.Value | None, payloads: PayloadCache, seals: TenantSeals) -> str:
    kind = None if value is None else value.WhichOneof("kind")
    if value is None or kind is None:
        return "null"
    if kind == "payload":
        return await payloads.load(tenant, value.payload.digest)
    if kind == "sealed":
        return await seals.read(value.sealed)
    return value.json


def step_summary(resident: Resident, step: Step) -> workflow_service_pb2.StepSummary:
    """A step as it is now, without its output."""
    # Filled in place, and only with what is there: a run answers with one for each of its steps.
    call = step.call
    summary = workflow_service_pb2.StepSummary(
        step_id=step.id,
        tool=call.tool,
        tool_version=call.tool_version,
        state=step.state,  # type: ignore[arg-type]  # the stubs want their NewType; every enum value is an int
        attempts=step.attempts,
    )
    marks = resident.marks.get(step.id)
    if marks is not None:
        summary.started_at_us = marks.started_us
        summary.ended_at_us = marks.ended_us
        summary.event = event_name(marks.ended_position)
    if step.parent is not None:
        summary.parent = step.parent.id
    elif step.plan.depends_on:
        summary.depends_on.extend(step.plan.depends_on)
    if step.cached:
        summary.cached = True
    if step.link and step.state == s.SUCCEEDED:
        summary.degraded_by = step.link
    if step.skip_reason:
        summary.skip_reason = step.skip_reason  # type: ignore[assignment]  # as above
    if step.failure is not None and step.state in (s.FAILED, s.DENIED, s.BACKING_OFF):
        summary.failure.CopyFrom(step.failure)
    return summary


def outcome(resident: Resident, step: Step) -> tuple[tool_service_pb2.ToolOutcome, StepOutput]:
    """What became of a call, and its output still to be loaded."""
    marks = resident.marks.get(step.id)
    message = tool_service_pb2.ToolOutcome(
        state=step.state,  # type: ignore[arg-type]  # the stubs want their NewType; every enum value is an int
        failure=None if step.state == s.SUCCEEDED else step.failure or resident.state.failure,
        event=event_name(marks.ended_position) if marks else "",
        attempts=step.attempts,
        cached=step.cached,
    )
    return message, StepOutput(step)
