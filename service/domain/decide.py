"""The decider: which events a command causes. Pure: it reads the state and changes nothing.

A command that makes no sense in the state raises IllegalState; a result with a stale fence raises
StaleFenceError. Expressions and stored values are reached through ports; what they answer ends up in events, so
that the fold never asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from podium.v1 import definition_pb2, events_pb2, value_pb2
from service.domain import commands as c
from service.domain import retry
from service.domain import state as s
from service.domain.errors import IllegalState
from service.domain.fallback import acts_at_once, ends_denied, ends_failed
from service.domain.reasons import WORKFLOW_TIMEOUT
from service.domain.settling import SETTLED, settle
from service.domain.state import Step, TimerKind, Workflow
from service.domain.values import Ports

STEPS_PER_EVENT = 500
"""A StepsAdded holds at most so many steps, so that no event grows without bound."""
_ADDED = 100
"""What a step that is added takes of the allowance."""


class StaleFenceError(Exception):
    """The attempt is not this executor's any more, or has ended. Its result is refused."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the decider takes from the configuration."""

    retry: retry.RetryDefaults = retry.DEFAULTS
    steps_limit: int = 100_000


def decide(state: Workflow, command: c.Command, ports: Ports, rules: Rules) -> list[Message]:
    """Return the events the command causes, in order; none: nothing is to be recorded."""
    return _DECISIONS[type(command)](state, command, ports, rules)


def _start(state: Workflow, command: c.StartWorkflow, ports: Ports, rules: Rules) -> list[Message]:
    del rules
    ports.allowance.left -= _ADDED * len(command.steps)
    if state.started:
        raise IllegalState("ALREADY_STARTED", "the workflow exists")
    started = events_pb2.WorkflowStarted(
        name=command.name,
        input=command.input,
        open=command.open,
        max_parallel=command.max_parallel,
        deadline_at_us=s.later_us(command.now_us, command.timeout_ms) if command.timeout_ms else 0,
        request_digest=command.request_digest,
        kind=command.kind,  # type: ignore[arg-type]  # the stubs want their NewType; every enum value is an int
        cancel_grace_ms=command.cancel_grace_ms,
        priority=command.priority,  # type: ignore[arg-type]  # as above
    )
    return [started, *_steps_added(command.steps, command.authority, "", b"")]


def _steps_added(
    steps: Sequence[definition_pb2.StepDefinition],
    authority: value_pb2.Authority,
    request_id: str,
    request_digest: bytes,
) -> list[Message]:
    # A start without steps is recorded with an empty batch, because its authority bounds what is added later.
    return [
        events_pb2.StepsAdded(
            steps=steps[first : first + STEPS_PER_EVENT],
            authority=authority,
            request_id=request_id,
            request_digest=request_digest if first + STEPS_PER_EVENT >= len(steps) else b"",
        )
        for first in range(0, max(1, len(steps)), STEPS_PER_EVENT)
    ]


def _add_steps(state: Workflow, command: c.AddSteps, ports: Ports, rules: Rules) -> list[Message]:
    ports.allowance.left -= _ADDED * len(command.steps)
    _require_running(state)
    if not state.open:
        why = "it is being canceled" if state.canceling else "it was finished, or not started with open = true"
        raise IllegalState("WORKFLOW_NOT_OPEN", f"the workflow takes no more steps: {why}")
    if len(state.steps) + len(command.steps) > rules.steps_limit:
        raise IllegalState("TOO_MANY_STEPS", f"a workflow has at most {rules.steps_limit} steps")
    return _steps_added(command.steps, command.authority, command.request_id, command.request_digest)


def _finish(state: Workflow, command: c.FinishWorkflow, ports: Ports, rules: Rules) -> list[Message]:
    del ports, rules
    if not state.open:
        return []
    return [events_pb2.WorkflowFinishRequested(request_id=command.request_id)]


def _cancel(state: Workflow, command: c.CancelWorkflow, ports: Ports, rules: Rules) -> list[Message]:
    del ports, rules
    if not state.running or state.canceling:
        return []
    return [
        events_pb2.WorkflowCancelRequested(
            reason=command.reason,
            request_id=command.request_id,
            grace_ends_at_us=s.later_us(command.now_us, state.cancel_grace_ms),
        )
    ]


def _advance(state: Workflow, command: c.Advance, ports: Ports, rules: Rules) -> list[Message]:
    del command
    if not state.running:
        return []
    events: list[Message] = []
    room = rules.steps_limit - len(state.steps)
    for step_id in state.to_settle:
        if ports.allowance.left < 0:
            # The rest is settled in the next turn.
            break
        ports.allowance.left -= SETTLED
        for event in settle(state, state.steps[step_id], ports, room):
            events.append(event)
            if isinstance(event, events_pb2.ForEachExpanded):
                room -= event.count
    if not events and state.unfinished == 0 and not state.open:
        events.append(_ending(state))
    return events


def _ending(state: Workflow) -> Message:
    if state.canceling and (state.cut_short or any(step.state == s.CANCELED for step in state.steps.values())):
        return events_pb2.WorkflowCanceled()
    if state.first_failed:
        return events_pb2.WorkflowFailed(failure=state.failure, step_id=state.first_failed)
    return events_pb2.WorkflowCanceled() if state.canceling and not state.steps else events_pb2.WorkflowSucceeded()


def _require_running(state: Workflow) -> None:
    if not state.running:
        raise IllegalState("WORKFLOW_ENDED", "the workflow has ended")


def _waiting_step(state: Workflow, step_id: str) -> Step | None:
    """The step when it still waits for admission; None when something else has happened to it meanwhile.

    A ready step that was held back by the limit of parallel steps has not come up for admission yet.
    """
    step = state.steps[step_id]
    waits = step.holds_slot and step.state in (s.READY, s.QUEUED, s.BACKING_OFF)
    return step if waits and state.running else None


def _start_attempt(state: Workflow, command: c.StartAttempt, ports: Ports, rules: Rules) -> list[Message]:
    del ports, rules
    step = _waiting_step(state, command.step_id)
    if step is None:
        return []
    started = events_pb2.AttemptStarted(
        step_id=step.id,
        attempt=step.attempts + 1,
        fence=state.last_fence + 1,
        executor=command.executor,
        session_id=command.session_id,
        deadline_at_us=s.later_us(command.now_us, command.timeout_ms),
        budget_ends_at_us=0 if step.attempts_of_call else _budget_ends_at_us(step, command.now_us),
        secrets=command.secrets,
    )
    return [command.check, started]


def _budget_ends_at_us(step: Step, now_us: int) -> int:
    """When the budget of a call ends whose first attempt is now; 0: it has none."""
    budget_ms = step.call.retry.budget_ms
    return s.later_us(now_us, budget_ms) if budget_ms else 0


def _queue_step(state: Workflow, command: c.QueueStep, ports: Ports, rules: Rules) -> list[Message]:
    del ports, rules
    step = _waiting_step(state, command.step_id)
    if step is None:
        return []
    events: list[Message] = []
    if command.limited is not None and command.limited.limit != step.limited_by:
        events.append(command.limited)
    if step.state != s.QUEUED:
        deadline = s.later_us(command.now_us, command.schedule_to_start_ms)
        events.append(events_pb2.StepQueued(step_id=step.id, waits_for=command.waits_for, deadline_at_us=deadline))
    return events


def _deny_step(state: Workflow, command: c.DenyStep, ports: Ports, rules: Rules) -> list[Message]:
    del ports, rules
    step = _waiting_step(state, command.step_id)
    if step is None:
        return []
    facts: list[Message] = [fact for fact in (command.check, command.rejected, command.limited) if fact is not None]
    return [*facts, *ends_denied(state, step, command.guard, command.failure)]


def _answer_step(state: Workflow, command: c.AnswerStep, ports: Ports, rules: Rules) -> list[Message]:
    del ports, rules
    step = _waiting_step(state, command.step_id)
    if step is None:
        return []
    facts: list[Message] = [fact for fact in (command.check, command.hit) if fact is not None]
    return [*facts, events_pb2.StepSucceeded(step_id=step.id, output=command.output, degraded_by=step.link)]


def _reject_attempt(state: Workflow, command: c.RejectAttempt, ports: Ports, rules: Rules) -> list[Message]:
    del ports
    step = _waiting_step(state, command.step_id)
    if step is None:
        return []
    failure, retry_at = command.failure, None
    # A rejection counts as an attempt, so the first begins the budget as the start of one would.
    budget_ends_at_us = 0 if step.attempts_of_call else _budget_ends_at_us(step, command.now_us)
    taken_over = acts_at_once(state, step, failure)
    # Somebody waits for the answer of a direct call, and knows better whether it is worth the wait.
    if not taken_over and state.kind not in s.DIRECT:
        retry_at = retry.next_attempt_at_us(
            step.call,
            failure,
            attempts=step.attempts_of_call + 1,
            budget_ends_at_us=budget_ends_at_us or step.budget_ends_at_us,
            now_us=command.now_us,
            chance=command.chance,
            defaults=rules.retry,
        )
    rejected = events_pb2.AttemptRejected(
        step_id=step.id,
        attempt=step.attempts + 1,
        guard=command.guard,
        failure=failure,
        retry_at_us=retry_at or 0,
        budget_ends_at_us=budget_ends_at_us,
    )
    facts: list[Message] = [rejected] if command.check is None else [command.check, rejected]
    if taken_over or retry_at is not None:
        return [*facts, *taken_over]
    return [*facts, *ends_failed(state, step, failure, exhausted=retry.is_repeated(step.call, failure))]


def _fail_step(state: Workflow, command: c.FailStep, ports: Ports, rules: Rules) -> list[Message]:
    del ports, rules
    step = _waiting_step(state, command.step_id)
    return [] if step is None else ends_failed(state, step, command.failure)


def _running_attempt(state: Workflow, step_id: str, attempt: int, fence: int) -> Step:
    step = state.steps.get(step_id)
    if step is None or step.state != s.RUNNING or step.attempts != attempt or step.fence != fence:
        raise StaleFenceError(f"attempt {attempt} of {step_id} with fence {fence} is not running")
    return step


def _complete_attempt(state: Workflow, command: c.CompleteAttempt, ports: Ports, rules: Rules) -> list[Message]:
    del ports, rules
    step = _running_attempt(state, command.step_id, command.attempt, command.fence)
    return [
        events_pb2.StepSucceeded(
            step_id=step.id,
            attempt=command.attempt,
            output=command.output,
            chunk_count=command.chunk_count,
            chunks_digest=command.chunks_digest,
            sanitized=command.sanitized,
            degraded_by=step.link,
            cache_ttl_ms=command.cache_ttl_ms,
        )
    ]


def _fail_attempt(state: Workflow, command: c.FailAttempt, ports: Ports, rules: Rules) -> list[Message]:
    del ports
    step = _running_attempt(state, command.step_id, command.attempt, command.fence)
    return _failed(state, step, command.failure, command.now_us, command.chance, rules)


def _failed(
    state: Workflow, step: Step, failure: value_pb2.Failure, now_us: int, chance: float, rules: Rules
) -> list[Message]:
    retry_at = None
    if not state.canceling:
        retry_at = retry.next_attempt_at_us(
            step.call,
            failure,
            attempts=step.attempts_of_call,
            budget_ends_at_us=step.budget_ends_at_us,
            now_us=now_us,
            chance=chance,
            defaults=rules.retry,
        )
    failed = events_pb2.AttemptFailed(
        step_id=step.id, attempt=step.attempts, failure=failure, retry_at_us=retry_at or 0
    )
    if retry_at is not None:
        return [failed]
    if state.canceling:
        return [failed, events_pb2.StepCanceled(step_id=step.id)]
    return [failed, *ends_failed(state, step, failure, exhausted=retry.is_repeated(step.call, failure))]


def _time_passed(state: Workflow, command: c.TimePassed, ports: Ports, rules: Rules) -> list[Message]:
    del ports
    if not state.running:
        return []
    due = state.due(command.now_us)
    for _, _, kind, _, _ in due:
        if kind is TimerKind.WORKFLOW:
            return _workflow_timed_out(state)
        if kind is TimerKind.GRACE:
            return _grace_ended(state)
    events: list[Message] = []
    for _, _, kind, step_id, _ in due:
        if kind is TimerKind.ATTEMPT:
            failure = _timeout("the attempt took longer than its timeout")
            events.append(events_pb2.AttemptAbandoned(step_id=step_id, attempt=state.steps[step_id].attempts))
            events += _failed(state, state.steps[step_id], failure, command.now_us, command.chance, rules)
        elif kind is TimerKind.QUEUE:
            failure = _timeout("no executor took the step in time", reason="SCHEDULE_TO_START_TIMEOUT")
            events += ends_failed(state, state.steps[step_id], failure)
    return events


def _timeout(message: str, reason: str = "TIMEOUT") -> value_pb2.Failure:
    return value_pb2.Failure(reason=reason, message=message, retryable=True)


def _abandoned(state: Workflow) -> list[events_pb2.AttemptAbandoned]:
    return [
        events_pb2.AttemptAbandoned(step_id=step.id, attempt=step.attempts)
        for step in state.steps.values()
        if step.state == s.RUNNING
    ]


def _workflow_timed_out(state: Workflow) -> list[Message]:
    failure = _timeout("the workflow took longer than its timeout", reason=WORKFLOW_TIMEOUT)
    events: list[Message] = []
    for abandoned in _abandoned(state):
        events.append(abandoned)
        if not state.canceling:
            # The tool did not answer in the time there was. Of one that was told to stop that says nothing.
            step_id, attempt = abandoned.step_id, abandoned.attempt
            events.append(events_pb2.AttemptFailed(step_id=step_id, attempt=attempt, failure=failure))
            events.append(events_pb2.StepFailed(step_id=step_id, failure=failure))
    return [*events, events_pb2.WorkflowFailed(failure=failure)]


def _grace_ended(state: Workflow) -> list[Message]:
    abandoned = _abandoned(state)
    return [*abandoned, *(events_pb2.StepCanceled(step_id=event.step_id) for event in abandoned)]


_DECISIONS: dict[type, Callable[[Workflow, Any, Ports, Rules], list[Message]]] = {
    c.StartWorkflow: _start,
    c.AddSteps: _add_steps,
    c.FinishWorkflow: _finish,
    c.CancelWorkflow: _cancel,
    c.Advance: _advance,
    c.StartAttempt: _start_attempt,
    c.QueueStep: _queue_step,
    c.DenyStep: _deny_step,
    c.AnswerStep: _answer_step,
    c.RejectAttempt: _reject_attempt,
    c.FailStep: _fail_step,
    c.CompleteAttempt: _complete_attempt,
    c.FailAttempt: _fail_attempt,
    c.TimePassed: _time_passed,
}
"""The decision for each command."""
