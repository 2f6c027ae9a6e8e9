"""What the events of breakers, caches, fallbacks and health say in the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podium.v1 import events_pb2, value_pb2
from podium.v1.value_pb2 import Principal
from service.projections.audit_words import Line, quoted, who

_STATES = {
    number: name.removeprefix("BREAKER_STATE_").lower().replace("_", " ")
    for name, number in events_pb2.BreakerState.items()
}


def _because(failure: value_pb2.Failure) -> str:
    return f": {quoted(failure.reason)}" if failure.reason else ""


def _breaker_transitioned(event: events_pb2.BreakerTransitioned, actor: Principal) -> Line:
    came, went = _STATES.get(event.from_state, "?"), _STATES.get(event.to_state, "?")
    by = f" by {who(actor)}" if actor.subject else ""
    note = f", {quoted(event.note)}" if event.note else ""
    figures = event.figures
    details: dict[str, object] = {
        "reason": event.reason,
        "workflow_id": event.workflow_id or None,
        "attempt": event.attempt or None,
        "calls": figures.calls,
        "failed": figures.failed,
        "slow": figures.slow,
        "failures_in_a_row": figures.failures_in_a_row,
        "rejected": figures.rejected,
        "open_until_us": event.open_until_us or None,
        "policy_revision": event.policy_revision,
    }
    summary = f"the breaker of {event.tool} went from {came} to {went}{by}: {quoted(event.reason)}{note}"
    return Line(summary, event.step_id, event.tool, rule=event.rule, details=details)


def _attempt_rejected(event: events_pb2.AttemptRejected, _actor: Principal) -> Line:
    then = "" if event.retry_at_us else ", and was the last"
    by = quoted(event.guard)
    summary = f"attempt {event.attempt} of {event.step_id} was rejected by {by}{_because(event.failure)}{then}"
    details = {"attempt": event.attempt, "guard": event.guard, "reason": event.failure.reason}
    return Line(summary, event.step_id, details=details)


def _fallback_tried(event: events_pb2.FallbackTried, _actor: Principal) -> Line:
    what = f"the tool {event.tool}" if event.tool else "a value"
    summary = f"{event.step_id} falls back on {what}, link {event.link}{_because(event.failure)}"
    details = {"link": event.link, "reason": event.failure.reason, "guard": event.guard}
    return Line(summary, event.step_id, event.tool, details=details)


def _cache_hit(event: events_pb2.CacheHit, _actor: Principal) -> Line:
    what = "an expired result" if event.stale else "a cached result"
    source = f"{event.source_step_id} of {event.source_workflow_id}"
    details: dict[str, object] = {
        "key": event.key.hex(),
        "source_position": event.source_position,
        "age_us": event.age_us,
        "stale": event.stale,
        "coalesced": event.coalesced,
    }
    return Line(f"{event.step_id} was answered with {what} of {source}", event.step_id, event.tool, details=details)


def _cache_invalidated(event: events_pb2.CacheInvalidated, actor: Principal) -> Line:
    what = f"of {event.tool}" if event.tool else "of all tools"
    exactly = " for given arguments" if event.arguments_digest else ""
    why = f": {quoted(event.reason)}" if event.reason else ""
    details: dict[str, object] = {
        "entries": event.entries,
        "arguments_digest": event.arguments_digest.hex() or None,
    }
    return Line(f"{who(actor)} ended cached results {what}{exactly}{why}", tool=event.tool, details=details)


def _cache_failed(event: events_pb2.CacheFailed, _actor: Principal) -> Line:
    times = f", {event.count} times" if event.count > 1 else ""
    details = {"operation": event.operation, "count": event.count, "first_at_us": event.first_at_us}
    return Line(f"the cache failed to {event.operation.lower()}{times}: {quoted(event.problem)}", details=details)


def _tool_health_changed(event: events_pb2.ToolHealthChanged, _actor: Principal) -> Line:
    can = "can run" if event.healthy else "cannot run"
    why = f": {quoted(event.message)}" if event.message else ""
    details = {"executor": event.executor, "session_id": event.session_id, "answers": event.answers}
    return Line(f"executor {quoted(event.executor)} {can} {event.tool}{why}", tool=event.tool, details=details)


RESILIENCE_LINES: dict[str, Callable[[Any, Principal], Line]] = {
    "breaker_transitioned": _breaker_transitioned,
    "attempt_rejected": _attempt_rejected,
    "fallback_tried": _fallback_tried,
    "cache_hit": _cache_hit,
    "cache_invalidated": _cache_invalidated,
    "cache_failed": _cache_failed,
    "tool_health_changed": _tool_health_changed,
}
"""The line of each event of resilience, by the payload's field name in events.proto."""
