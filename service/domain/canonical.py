"""The canonical form of a workflow's state, and its digest: two states are the same when their digests are."""

from __future__ import annotations

import hashlib
import json

from google.protobuf.message import Message

from service.domain.state import Step, Workflow


def state_digest(state: Workflow) -> bytes:
    """SHA-256 of the canonical form: UTF-8 JSON with sorted keys, no white space, messages as hex of their bytes."""
    text = json.dumps(canonical(state), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).digest()


def canonical(state: Workflow) -> dict[str, object]:
    """Everything in the state that events decide, as plain JSON values."""
    return {
        "name": state.name,
        "kind": state.kind,
        "state": state.state,
        "open": state.open,
        "input": _hex(state.input),
        "max_parallel": state.max_parallel,
        "priority": state.priority,
        "deadline_at_us": state.deadline_at_us,
        "grace_ends_at_us": state.grace_ends_at_us,
        "cancel_grace_ms": state.cancel_grace_ms,
        "cut_short": state.cut_short,
        "request_digest": state.request_digest.hex(),
        "steps": [_step(step) for step in state.steps.values()],
        "submitted": state.submitted,
        "authorities": [_hex(authority) for authority in state.authorities],
        "unfinished": state.unfinished,
        "running_slots": state.running_slots,
        "held": [step.id for step in state.held],
        "last_fence": state.last_fence,
        "first_failed": state.first_failed,
        "failure": _hex(state.failure),
        "requests": [[name, digest.hex(), *ids] for name, (digest, ids) in state.requests.items()],
        "wakes": sorted(timer for timer in state.timers if state.valid(timer)),
    }


def _step(step: Step) -> dict[str, object]:
    return {
        "id": step.id,
        "definition": _hex(step.plan.definition) if step.parent is None else step.parent.id,
        "authority": step.plan.authority,
        "state": step.state,
        "waiting": step.waiting,
        "succeeded": step.succeeded,
        "condition_met": step.condition_met,
        "holds_slot": step.holds_slot,
        "attempts": step.attempts,
        "fence": step.fence,
        "executor": step.executor,
        "session_id": step.session_id,
        "budget_ends_at_us": step.budget_ends_at_us,
        "not_before_us": step.not_before_us,
        "deadline_at_us": step.deadline_at_us,
        "output": _hex(step.output),
        "cached": step.cached,
        "failure": _hex(step.failure),
        "limited_by": step.limited_by,
        "waits_for": step.waits_for,
        "link": step.link,
        "attempts_before": step.attempts_before,
        "skip_reason": step.skip_reason,
        "chunk_count": step.chunk_count,
        "items_held": [item.id for item in step.items_held or ()],
        "items_running": step.items_running,
    }


def _hex(message: Message | None) -> str | None:
    return None if message is None else message.SerializeToString(deterministic=True).hex()
