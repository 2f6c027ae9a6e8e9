"""How what happens between a ready step and its outcome changes a workflow's state: waiting, admission, attempts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from podium.v1 import events_pb2
from service.domain import state as s
from service.domain.state import Step, TimerKind, Workflow


def _step_queued(state: Workflow, event: events_pb2.StepQueued) -> None:
    step = state.steps[event.step_id]
    step.state = s.QUEUED
    step.deadline_at_us = event.deadline_at_us
    step.waits_for = event.waits_for
    state.changed[step.id] = None
    state.arm(event.deadline_at_us, TimerKind.QUEUE, step.id, step.attempts)


def _permission_checked(state: Workflow, event: events_pb2.PermissionChecked) -> None:
    """A decision is a fact for the audit; what follows from it is an event of its own."""


def _rate_limited(state: Workflow, event: events_pb2.RateLimited) -> None:
    # Remembered until it starts, so that a wait is recorded once; it queues or is denied by what follows.
    state.steps[event.step_id].limited_by = event.limit


def _input_rejected(state: Workflow, event: events_pb2.InputRejected) -> None:
    """Recorded for the audit; StepDenied follows."""


def _cache_hit(state: Workflow, event: events_pb2.CacheHit) -> None:
    state.steps[event.step_id].cached = True


def _attempt_started(state: Workflow, event: events_pb2.AttemptStarted) -> None:
    step = state.steps[event.step_id]
    step.state = s.RUNNING
    step.attempts = event.attempt
    step.fence = state.last_fence = event.fence
    step.executor = event.executor
    step.session_id = event.session_id
    step.deadline_at_us = event.deadline_at_us
    step.limited_by = ""
    if event.budget_ends_at_us:
        step.budget_ends_at_us = event.budget_ends_at_us
    state.changed[step.id] = None
    state.arm(event.deadline_at_us, TimerKind.ATTEMPT, step.id, event.attempt)


def _attempt_failed(state: Workflow, event: events_pb2.AttemptFailed) -> None:
    step = state.steps[event.step_id]
    step.failure = event.failure
    if event.retry_at_us:
        _back_off(state, step, event.retry_at_us)


def _attempt_rejected(state: Workflow, event: events_pb2.AttemptRejected) -> None:
    step = state.steps[event.step_id]
    step.attempts = event.attempt
    step.failure = event.failure
    step.limited_by = ""
    if event.budget_ends_at_us:
        step.budget_ends_at_us = event.budget_ends_at_us
    if event.retry_at_us:
        _back_off(state, step, event.retry_at_us)


def _attempt_abandoned(state: Workflow, event: events_pb2.AttemptAbandoned) -> None:
    """The attempt may still run; that it does not count any more is said by what follows."""


def _fallback_tried(state: Workflow, event: events_pb2.FallbackTried) -> None:
    step = state.steps[event.step_id]
    step.failure = event.failure
    step.link = event.link
    # Its attempts, and the time for them, count anew; their numbers go on.
    step.attempts_before = step.attempts
    step.budget_ends_at_us = 0
    step.limited_by = ""
    step.state = s.READY
    state.changed[step.id] = None


def _back_off(state: Workflow, step: Step, until_us: int) -> None:
    step.state = s.BACKING_OFF
    step.not_before_us = until_us
    state.changed[step.id] = None
    state.arm(until_us, TimerKind.RETRY, step.id, step.attempts)


FOLDS: dict[type[Message], Callable[[Workflow, Any], None]] = {
    events_pb2.StepQueued: _step_queued,
    events_pb2.PermissionChecked: _permission_checked,
    events_pb2.RateLimited: _rate_limited,
    events_pb2.InputRejected: _input_rejected,
    events_pb2.CacheHit: _cache_hit,
    events_pb2.AttemptStarted: _attempt_started,
    events_pb2.AttemptFailed: _attempt_failed,
    events_pb2.AttemptRejected: _attempt_rejected,
    events_pb2.AttemptAbandoned: _attempt_abandoned,
    events_pb2.FallbackTried: _fallback_tried,
}
"""The fold of each event on a step's way to its outcome."""
