"""What each event says in the audit trail: one table from the event's type to its line.

Invariant: no value is copied into a line. Arguments and outputs may be sealed and later erased, and what a tool says
when it fails may quote them, so a failure is told by its reason alone. The lines are made when they are read; but which
tool, decision and authority a line has is in an index too (see audit), and a change of that needs a new
`AuditTrail.schema_version`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from podium.v1 import events_pb2, value_pb2
from podium.v1.value_pb2 import Principal
from service.projections.audit_access_lines import ACCESS_LINES
from service.projections.audit_resilience_lines import RESILIENCE_LINES
from service.projections.audit_words import Line, quoted, who
from store.records import TYPE_NAMES

NAMES_MAX = 5
"""How many steps a summary names."""

_KINDS = {
    events_pb2.WORKFLOW_KIND_CALL: "a direct call",
    events_pb2.WORKFLOW_KIND_BATCH: "a batch of calls",
    events_pb2.WORKFLOW_KIND_AGENT: "an agent's run",
}
_SKIP_REASONS = {
    events_pb2.SKIP_REASON_CONDITION: "its condition was false",
    events_pb2.SKIP_REASON_JOIN: "its join could not be met",
}


def line_of(event: events_pb2.Event) -> Line:
    """The line of an event, also of one that this version does not know."""
    name = TYPE_NAMES.get(event.type)
    if name is None:
        return Line(f"an event of type {event.type}, which this version does not know")
    return LINES[name](getattr(event, name), event.principal)


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMES_MAX
    return ", ".join(names[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _because(failure: value_pb2.Failure) -> str:
    return f": {quoted(failure.reason)}" if failure.reason else ""


def _failure(failure: value_pb2.Failure) -> dict[str, object]:
    return {"reason": failure.reason, "field": failure.field} if failure.field else {"reason": failure.reason}


def _workflow_started(event: events_pb2.WorkflowStarted, actor: Principal) -> Line:
    what = _KINDS.get(event.kind, "a workflow")
    named = f" named {quoted(event.name)}" if event.name else ""
    details = {"request_digest": event.request_digest.hex()} if event.request_digest else None
    return Line(f"{who(actor)} started {what}{named}", details=details)


def _steps_added(event: events_pb2.StepsAdded, actor: Principal) -> Line:
    steps, authority = event.steps, event.authority
    details: dict[str, object] = {
        "count": len(steps),
        "authority": authority.principal.subject,
        "roles": list(authority.roles),
        "scopes": list(authority.scopes) if authority.limited else None,
        "issued_at_us": authority.issued_at_us or None,
    }
    if event.request_digest:
        details["request_digest"] = event.request_digest.hex()
    noun = "step" if len(steps) == 1 else "steps"
    summary = f"{who(actor)} added {len(steps)} {noun}: {_names([s.id for s in steps])}"
    if len(steps) == 1:
        return Line(summary, steps[0].id, steps[0].tool, details=details)
    return Line(summary, details=details)


def _finish_requested(_event: events_pb2.WorkflowFinishRequested, actor: Principal) -> Line:
    return Line(f"{who(actor)} will add no more steps")


def _cancel_requested(event: events_pb2.WorkflowCancelRequested, actor: Principal) -> Line:
    reason = f": {quoted(event.reason)}" if event.reason else ""
    return Line(f"{who(actor)} asked for the workflow to be canceled{reason}")


def _workflow_succeeded(_event: events_pb2.WorkflowSucceeded, _actor: Principal) -> Line:
    return Line("the workflow succeeded")


def _workflow_failed(event: events_pb2.WorkflowFailed, _actor: Principal) -> Line:
    at = f" at {event.step_id}" if event.step_id else ""
    return Line(f"the workflow failed{at}{_because(event.failure)}", event.step_id, details=_failure(event.failure))


def _workflow_canceled(_event: events_pb2.WorkflowCanceled, _actor: Principal) -> Line:
    return Line("the workflow was canceled")


def _condition_met(event: events_pb2.ConditionMet, _actor: Principal) -> Line:
    return Line(f"the condition of {event.step_id} was true", event.step_id)


def _for_each_expanded(event: events_pb2.ForEachExpanded, _actor: Principal) -> Line:
    noun = "item" if event.count == 1 else "items"
    return Line(f"{event.step_id} runs for {event.count} {noun}", event.step_id, details={"count": event.count})


def _step_queued(event: events_pb2.StepQueued, _actor: Principal) -> Line:
    return Line(f"{event.step_id} waits for {quoted(event.waits_for) or 'an executor'}", event.step_id)


def _permission_checked(event: events_pb2.PermissionChecked, _actor: Principal) -> Line:
    policy = f"{event.policy}@{event.policy_revision}" if event.policy else ""
    whom, rule = who(event.principal), quoted(event.rule)
    because = ", ".join(part for part in (f"rule {rule}" if rule else "", policy and f"policy {policy}") if part)
    if event.decision == events_pb2.DECISION_ALLOW:
        summary = f"{whom} may run {event.tool}" + (f": {because}" if because else "")
    else:
        lacks = f" needs {', '.join(event.missing)}" if event.missing else ""
        summary = f"denied to {whom}: {event.tool}{lacks}" + (f" ({because})" if because else "")
    details: dict[str, object] = {
        "attempt": event.attempt,
        "required": list(event.required),
        "missing": list(event.missing),
        "arguments_digest": event.arguments_digest.hex() or None,
    }
    return Line(summary, event.step_id, event.tool, event.decision, event.rule, policy, event.principal, details)


def _input_rejected(event: events_pb2.InputRejected, _actor: Principal) -> Line:
    at = f" at {quoted(event.field)}" if event.field else ""
    why = f": {quoted(event.message)}" if event.message else ""
    summary = f"the arguments of {event.step_id} were refused by {quoted(event.guard)}{at}{why}"
    return Line(summary, event.step_id, details={"guard": event.guard, "field": event.field, "reason": event.reason})


def _attempt_started(event: events_pb2.AttemptStarted, _actor: Principal) -> Line:
    details: dict[str, object] = {
        "attempt": event.attempt,
        "fence": event.fence,
        "executor": event.executor,
        "session_id": event.session_id,
    }
    on = f" on executor {quoted(event.executor)}" if event.executor else ""
    return Line(f"attempt {event.attempt} of {event.step_id} started{on}", event.step_id, details=details)


def _attempt_failed(event: events_pb2.AttemptFailed, _actor: Principal) -> Line:
    then = "" if event.retry_at_us else ", and was the last"
    summary = f"attempt {event.attempt} of {event.step_id} failed{_because(event.failure)}{then}"
    return Line(summary, event.step_id, details={"attempt": event.attempt, **_failure(event.failure)})


def _attempt_abandoned(event: events_pb2.AttemptAbandoned, _actor: Principal) -> Line:
    summary = f"attempt {event.attempt} of {event.step_id} was given up and may still be running"
    return Line(summary, event.step_id, details={"attempt": event.attempt})


def _step_succeeded(event: events_pb2.StepSucceeded, _actor: Principal) -> Line:
    details: dict[str, object] = {"attempt": event.attempt}
    if event.output.HasField("payload"):
        details["output_digest"] = event.output.payload.digest.hex()
    elif event.output.HasField("sealed"):
        details["output_keyed_digest"] = event.output.sealed.keyed_digest.hex()
    if event.chunk_count:
        details |= {"chunk_count": event.chunk_count, "chunks_digest": event.chunks_digest.hex()}
    return Line(f"{event.step_id} succeeded", event.step_id, details=details)


def _step_failed(event: events_pb2.StepFailed, _actor: Principal) -> Line:
    return Line(f"{event.step_id} failed{_because(event.failure)}", event.step_id, details=_failure(event.failure))


def _step_denied(event: events_pb2.StepDenied, _actor: Principal) -> Line:
    summary = f"{event.step_id} was denied by {quoted(event.guard)}{_because(event.failure)}"
    details = {"guard": event.guard, **_failure(event.failure)}
    return Line(summary, event.step_id, decision=events_pb2.DECISION_DENY, details=details)


def _step_skipped(event: events_pb2.StepSkipped, _actor: Principal) -> Line:
    why = _SKIP_REASONS.get(event.reason)
    return Line(f"{event.step_id} was skipped" + (f": {why}" if why else ""), event.step_id)


def _step_canceled(event: events_pb2.StepCanceled, _actor: Principal) -> Line:
    return Line(f"{event.step_id} was canceled", event.step_id)


def _tool_registered(event: events_pb2.ToolRegistered, actor: Principal) -> Line:
    tool = event.definition
    needs = f", which needs {', '.join(tool.permissions)}" if tool.permissions else ""
    summary = f"{who(actor)} registered {tool.name} version {event.version}{needs}"
    details = {"version": event.version, "permissions": list(tool.permissions)}
    return Line(summary, tool=tool.name, details=details)


def _rate_limited(event: events_pb2.RateLimited, _actor: Principal) -> Line:
    details = {"limit": event.limit, "retry_at_us": event.retry_at_us, "policy_revision": event.policy_revision}
    return Line(f"{event.step_id} reached the limit {quoted(event.limit)}", event.step_id, details=details)


LINES: dict[str, Callable[[Any, Principal], Line]] = {
    "workflow_started": _workflow_started,
    "steps_added": _steps_added,
    "workflow_finish_requested": _finish_requested,
    "workflow_cancel_requested": _cancel_requested,
    "workflow_succeeded": _workflow_succeeded,
    "workflow_failed": _workflow_failed,
    "workflow_canceled": _workflow_canceled,
    "condition_met": _condition_met,
    "for_each_expanded": _for_each_expanded,
    "step_queued": _step_queued,
    "permission_checked": _permission_checked,
    "input_rejected": _input_rejected,
    "attempt_started": _attempt_started,
    "attempt_failed": _attempt_failed,
    "attempt_abandoned": _attempt_abandoned,
    "step_succeeded": _step_succeeded,
    "step_failed": _step_failed,
    "step_denied": _step_denied,
    "step_skipped": _step_skipped,
    "step_canceled": _step_canceled,
    "tool_registered": _tool_registered,
    "rate_limited": _rate_limited,
    **ACCESS_LINES,
    **RESILIENCE_LINES,
}
"""The line of each event, by the payload's field name in events.proto."""
