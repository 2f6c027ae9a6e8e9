"""The fold: how each event changes the state of a workflow.

Everything that changes a workflow's state lives in this file. It updates the state in place, evaluates nothing and
costs the same however large the workflow is; a denial of either would break replay or speed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from podium.v1 import events_pb2, value_pb2
from service.domain import state as s
from service.domain.joins import cannot_join, joins
from service.domain.state import Step, StepPlan, TimerKind, Workflow


def evolve(state: Workflow, event: Message) -> None:
    """Apply an event's payload. Raises KeyError for a message that is no event of a workflow."""
    FOLDS[type(event)](state, event)


def _workflow_started(state: Workflow, event: events_pb2.WorkflowStarted) -> None:
    state.started = True
    state.state = value_pb2.WORKFLOW_STATE_RUNNING
    state.name = event.name
    state.kind = event.kind
    state.open = event.open
    state.input = event.input if event.HasField("input") else None
    state.max_parallel = event.max_parallel
    state.priority = event.priority
    state.request_digest = event.request_digest
    state.cancel_grace_ms = event.cancel_grace_ms
    state.deadline_at_us = event.deadline_at_us
    if event.deadline_at_us:
        state.arm(event.deadline_at_us, TimerKind.WORKFLOW)


def _steps_added(state: Workflow, event: events_pb2.StepsAdded) -> None:
    if not state.authorities or state.authorities[-1] != event.authority:
        state.authorities.append(event.authority)
    authority = len(state.authorities) - 1
    added = [Step(d.id, len(state.steps) + i, StepPlan(d, authority)) for i, d in enumerate(event.steps)]
    state.submitted += len(added)
    for step in added:
        state.steps[step.id] = step
    state.unfinished += len(added)
    if event.request_id:
        _remember_request(state, event)
    for step in added:
        _connect(state, step)
    for step in added:
        _consider(state, step)


def _remember_request(state: Workflow, event: events_pb2.StepsAdded) -> None:
    # A request larger than one event is recorded as several; together they are its answer.
    _, ids = state.requests.get(event.request_id, (b"", ()))
    state.requests[event.request_id] = (event.request_digest, (*ids, *(d.id for d in event.steps)))
    if len(state.requests) > s.REQUESTS_REMEMBERED:
        state.requests.popitem(last=False)


def _connect(state: Workflow, step: Step) -> None:
    for name in step.plan.depends_on:
        dependency = state.steps.get(name)
        if dependency is not None and dependency.ended:
            step.succeeded += dependency.state == s.SUCCEEDED
        else:
            step.waiting += 1
            state.dependents.setdefault(name, []).append(step)


def _consider(state: Workflow, step: Step) -> None:
    """Move a pending step on when its dependencies allow it."""
    total, ended = len(step.plan.depends_on), len(step.plan.depends_on) - step.waiting
    if joins(step.plan, total, ended, step.succeeded):
        if step.plan.needs_evaluation:
            # Also after its condition was met: a for_each step waits for its items, whatever else ends meanwhile.
            state.to_settle[step.id] = None
        else:
            _make_ready(state, step)
    elif cannot_join(step.plan, total, ended, step.succeeded):
        state.to_settle[step.id] = None


def _make_ready(state: Workflow, step: Step) -> None:
    step.state = s.READY
    _take_slot_or_wait(state, step)


def _take_slot_or_wait(state: Workflow, step: Step) -> None:
    parent = step.parent
    if parent is not None:
        limit = parent.plan.definition.for_each.max_parallel
        if limit and parent.items_running >= limit:
            if parent.items_held is None:
                parent.items_held = deque()
            parent.items_held.append(step)
            return
        parent.items_running += 1
    if state.max_parallel and (state.held or state.running_slots >= state.max_parallel):
        # Nobody goes before those who are held already, so that a long for_each does not starve them.
        state.held.append(step)
        return
    _take_slot(state, step)


def _take_slot(state: Workflow, step: Step) -> None:
    step.holds_slot = True
    state.running_slots += 1
    state.changed[step.id] = None


def _release_slot(state: Workflow, step: Step) -> None:
    if not step.holds_slot:
        return
    step.holds_slot = False
    state.running_slots -= 1
    parent = step.parent
    if parent is not None:
        parent.items_running -= 1
        while parent.items_held:
            following = parent.items_held.popleft()
            if following.state == s.READY:
                _take_slot_or_wait(state, following)
                break
    while state.held and state.running_slots < state.max_parallel:
        following = state.held.popleft()
        if following.state == s.READY:
            _take_slot(state, following)


def _finish(state: Workflow, step: Step, ending: int) -> None:
    """A step has ended: free its place and tell those who depend on it."""
    step.state = ending
    step.item_texts = None
    state.unfinished -= 1
    state.to_settle.pop(step.id, None)
    state.changed[step.id] = None
    _release_slot(state, step)
    if ending in (s.FAILED, s.DENIED) and not step.plan.continues and step.parent is None and not state.first_failed:
        state.first_failed = step.id
        state.failure = step.failure
    if step.parent is not None:
        step.parent.waiting -= 1
        if step.parent.waiting == 0 and not step.parent.ended:
            state.to_settle[step.parent.id] = None
    for dependent in state.dependents.pop(step.id, ()):
        # One that could go on before all it depends on had ended may wait for its items by now.
        if dependent.state == s.PENDING:
            dependent.waiting -= 1
            dependent.succeeded += ending == s.SUCCEEDED
            _consider(state, dependent)


def _finish_requested(state: Workflow, event: events_pb2.WorkflowFinishRequested) -> None:
    del event
    state.open = False


def _cancel_requested(state: Workflow, event: events_pb2.WorkflowCancelRequested) -> None:
    state.state = value_pb2.WORKFLOW_STATE_CANCELING
    state.cut_short = state.open
    state.open = False
    state.grace_ends_at_us = event.grace_ends_at_us
    state.arm(event.grace_ends_at_us, TimerKind.GRACE)
    _cancel_steps(state, keep_running=True)


def _cancel_steps(state: Workflow, *, keep_running: bool) -> None:
    """Cancel what has not ended. What runs may be kept, and with it the for_each steps whose items run."""
    state.held.clear()
    state.to_settle.clear()
    for step in state.steps.values():
        if step.ended:
            continue
        state.changed[step.id] = None
        step.items_held = None
        step.items_running = 0
        if keep_running and step.state == s.EXPANDED:
            if step.waiting == 0:
                state.to_settle[step.id] = None
        elif keep_running and step.state == s.RUNNING:
            # Its for_each step came before it, and counts anew.
            if step.parent is not None:
                step.parent.items_running += 1
        else:
            _cancel_step(state, step)


def _cancel_step(state: Workflow, step: Step) -> None:
    step.state = s.CANCELED
    state.unfinished -= 1
    if step.holds_slot:
        step.holds_slot = False
        state.running_slots -= 1
    if step.parent is not None and not step.parent.ended:
        step.parent.waiting -= 1
        if step.parent.waiting == 0:
            state.to_settle[step.parent.id] = None


def _workflow_succeeded(state: Workflow, event: events_pb2.WorkflowSucceeded) -> None:
    del event
    state.state = value_pb2.WORKFLOW_STATE_SUCCEEDED


def _workflow_failed(state: Workflow, event: events_pb2.WorkflowFailed) -> None:
    state.failure = event.failure
    if state.unfinished:
        _cancel_steps(state, keep_running=False)
    state.state = value_pb2.WORKFLOW_STATE_FAILED
    state.open = False


def _workflow_canceled(state: Workflow, event: events_pb2.WorkflowCanceled) -> None:
    del event
    state.state = value_pb2.WORKFLOW_STATE_CANCELED


def _condition_met(state: Workflow, event: events_pb2.ConditionMet) -> None:
    step = state.steps[event.step_id]
    step.condition_met = True
    if not step.plan.definition.HasField("for_each"):
        state.to_settle.pop(step.id, None)
        _make_ready(state, step)


def _for_each_expanded(state: Workflow, event: events_pb2.ForEachExpanded) -> None:
    parent = state.steps[event.step_id]
    parent.state = s.EXPANDED
    parent.waiting = event.count
    state.to_settle.pop(parent.id, None)
    first = len(state.steps)
    parent.items = [
        Step(f"{parent.id}[{index}]", first + index, parent.plan, parent=parent, item=index)
        for index in range(event.count)
    ]
    state.steps.update((item.id, item) for item in parent.items)
    state.unfinished += event.count
    for item in parent.items:
        _make_ready(state, item)
    if event.count == 0:
        state.to_settle[parent.id] = None


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
        step.state = s.BACKING_OFF
        step.not_before_us = event.retry_at_us
        state.changed[step.id] = None
        state.arm(event.retry_at_us, TimerKind.RETRY, step.id, step.attempts)


def _attempt_rejected(state: Workflow, event: events_pb2.AttemptRejected) -> None:
    step = state.steps[event.step_id]
    step.attempts = event.attempt
    step.failure = event.failure
    step.limited_by = ""
    if event.budget_ends_at_us:
        step.budget_ends_at_us = event.budget_ends_at_us
    if event.retry_at_us:
        step.state = s.BACKING_OFF
        step.not_before_us = event.retry_at_us
        state.changed[step.id] = None
        state.arm(event.retry_at_us, TimerKind.RETRY, step.id, step.attempts)


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


def _cache_hit(state: Workflow, event: events_pb2.CacheHit) -> None:
    state.steps[event.step_id].cached = True


def _attempt_abandoned(state: Workflow, event: events_pb2.AttemptAbandoned) -> None:
    """The attempt may still run; that it does not count any more is said by what follows."""


def _step_succeeded(state: Workflow, event: events_pb2.StepSucceeded) -> None:
    step = state.steps[event.step_id]
    step.output = event.output if event.HasField("output") else None
    step.failure = None
    step.chunk_count = event.chunk_count
    _finish(state, step, s.SUCCEEDED)


def _step_failed(state: Workflow, event: events_pb2.StepFailed) -> None:
    step = state.steps[event.step_id]
    step.failure = event.failure
    _finish(state, step, s.FAILED)


def _step_denied(state: Workflow, event: events_pb2.StepDenied) -> None:
    step = state.steps[event.step_id]
    step.failure = event.failure
    _finish(state, step, s.DENIED)


def _step_skipped(state: Workflow, event: events_pb2.StepSkipped) -> None:
    step = state.steps[event.step_id]
    step.skip_reason = event.reason
    _finish(state, step, s.SKIPPED)


def _step_canceled(state: Workflow, event: events_pb2.StepCanceled) -> None:
    _finish(state, state.steps[event.step_id], s.CANCELED)


FOLDS: dict[type[Message], Callable[[Workflow, Any], None]] = {
    events_pb2.WorkflowStarted: _workflow_started,
    events_pb2.StepsAdded: _steps_added,
    events_pb2.WorkflowFinishRequested: _finish_requested,
    events_pb2.WorkflowCancelRequested: _cancel_requested,
    events_pb2.WorkflowSucceeded: _workflow_succeeded,
    events_pb2.WorkflowFailed: _workflow_failed,
    events_pb2.WorkflowCanceled: _workflow_canceled,
    events_pb2.ConditionMet: _condition_met,
    events_pb2.ForEachExpanded: _for_each_expanded,
    events_pb2.StepQueued: _step_queued,
    events_pb2.PermissionChecked: _permission_checked,
    events_pb2.InputRejected: _input_rejected,
    events_pb2.RateLimited: _rate_limited,
    events_pb2.AttemptStarted: _attempt_started,
    events_pb2.AttemptFailed: _attempt_failed,
    events_pb2.AttemptAbandoned: _attempt_abandoned,
    events_pb2.AttemptRejected: _attempt_rejected,
    events_pb2.FallbackTried: _fallback_tried,
    events_pb2.CacheHit: _cache_hit,
    events_pb2.StepSucceeded: _step_succeeded,
    events_pb2.StepFailed: _step_failed,
    events_pb2.StepDenied: _step_denied,
    events_pb2.StepSkipped: _step_skipped,
    events_pb2.StepCanceled: _step_canceled,
}
"""The fold of each event of a workflow."""
