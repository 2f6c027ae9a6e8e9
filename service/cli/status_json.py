"""Workflows, steps and what happens to them as JSON objects whose members stay what they are."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from service.cli.output import message_dict

if TYPE_CHECKING:
    from podium import PodiumError, StepStatus, Update, WorkflowStatus
    from podium.v1 import definition_pb2, events_pb2, tool_service_pb2


def workflow_dict(workflow: WorkflowStatus) -> dict[str, Any]:
    """Return a workflow at a glance."""
    return {
        "workflow_id": workflow.id,
        "name": workflow.name,
        "kind": workflow.kind,
        "state": workflow.state,
        "open": workflow.open,
        "step_counts": dict(workflow.step_counts),
        "failure": failure_dict(workflow.failure),
        "started_at": workflow.started_at,
        "ended_at": workflow.ended_at,
        "stream_version": workflow.stream_version,
        "subject": workflow.subject,
        "on_behalf_of": workflow.on_behalf_of,
    }


def step_dict(step: StepStatus, *, output: bool = True) -> dict[str, Any]:
    """Return a step as it is now, with its output or without."""
    content = {
        "step_id": step.id,
        "tool": step.tool,
        "state": step.state,
        "attempts": step.attempts,
        "degraded_by": step.degraded_by,
        "failure": failure_dict(step.failure),
        "started_at": step.started_at,
        "ended_at": step.ended_at,
        "event": step.event,
        "parent": step.parent,
        "depends_on": list(step.depends_on),
    }
    return {**content, "output": output_of(step)} if output else content


def run_dict(workflow: WorkflowStatus, steps: Iterable[StepStatus]) -> dict[str, Any]:
    """Return a workflow with all of its steps, by their ids."""
    return {**workflow_dict(workflow), "steps": {step.id: step_dict(step) for step in steps}}


def output_of(step: StepStatus) -> Any:  # noqa: ANN401 -- any JSON value
    """Return a step's output; None when it has none."""
    return None if step.failure is not None else step.output


def failure_dict(failure: PodiumError | None) -> dict[str, Any] | None:
    """Return why something failed."""
    if failure is None:
        return None
    return {
        "reason": failure.reason,
        "message": failure.message,
        "retryable": failure.retryable,
        "retry_after_s": failure.retry_after,
        "field": failure.field,
        "event": failure.event,
    }


def update_dict(update: Update) -> dict[str, Any]:
    """Return one thing that happened: an event, a piece of output (text, or base64 when it is none), or progress."""
    content: dict[str, Any] = {"kind": update.kind, "step_id": update.step_id, "cursor": update.cursor}
    if update.event is not None:
        content["event"] = event_dict(update.event)
    elif update.chunk is not None:
        content |= {"attempt": update.chunk.attempt, "sequence": update.chunk.sequence}
        try:
            content["text"] = update.chunk.data.decode()
        except UnicodeDecodeError:
            content["data_base64"] = base64.b64encode(update.chunk.data).decode()
    elif update.progress is not None:
        known = update.progress.fraction >= 0
        content |= {"attempt": update.progress.attempt, "fraction": update.progress.fraction if known else None}
        content["message"] = update.progress.message
    return content


def event_dict(event: events_pb2.Event) -> dict[str, Any]:
    """Return an event in proto3's JSON mapping, and in front of it its name and its kind."""
    kind = event.WhichOneof("payload") or "unknown"
    return {"event": f"{event.shard}:{event.position}", "kind": kind, **message_dict(event)}


def tool_dict(tool: tool_service_pb2.Tool) -> dict[str, Any]:
    """Return a tool with its schemas as JSON values."""
    from podium.json_text import from_json

    definition = tool.definition
    return {
        "name": definition.name,
        "version": tool.version,
        "sessions": tool.sessions,
        "description": definition.description,
        "permissions": list(definition.permissions),
        "read_only": definition.read_only,
        "idempotent": definition.idempotent,
        "timeout_ms": definition.timeout_ms,
        "heartbeat_timeout_ms": definition.heartbeat_timeout_ms,
        "streams_output": definition.streams_output,
        "input_schema": from_json(definition.input_schema_json),
        "output_schema": from_json(definition.output_schema_json),
        **resilience_dict(definition),
    }


def resilience_dict(definition: definition_pb2.ToolDefinition) -> dict[str, Any]:
    """Return what a tool declares of caching, batching and probing, by name."""
    declared = message_dict(definition)
    return {name: declared[name] for name in ("caching", "batching", "probing") if name in declared}
