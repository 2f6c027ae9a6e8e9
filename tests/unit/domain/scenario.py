"""`given(moves and events).when(move).then(events)`: how the tests of the decider are written."""

from google.protobuf.message import Message

from podium.v1 import events_pb2, value_pb2
from service.domain.canonical import state_digest
from service.domain.decide import StaleFenceError
from service.domain.effects import Admit, Queue, effects
from service.domain.errors import DomainError
from tests.unit.domain.workflow_run import GRACE_MS, START_US, US_PER_MS, Run

__all__ = ["given"]


def given(*history, rules=None):
    """What has happened: moves, which are decided, and events, which are taken as they are."""
    run = Run(rules)
    for entry in history:
        if isinstance(entry, Message):
            run.fold(run.state, entry)
            run.events.append(entry)
        else:
            run.perform(entry)
    return Given(run)


class Given:
    def __init__(self, run):
        self.run = run

    def when(self, move):
        """What somebody does now."""
        before = state_digest(self.run.state)
        try:
            return Outcome(self.run, self.run.perform(move), None, before)
        except (DomainError, StaleFenceError) as error:
            return Outcome(self.run, [], error, before)


class Outcome:
    def __init__(self, run, events, error, before):
        self.run = run
        self._events = events
        self._error = error
        self._before = before

    def then(self, *expected):
        """Exactly these events follow. The message of a failure counts only where the expected one has one."""
        assert self._error is None
        assert [_shown(event, like) for event, like in _paired(self._events, expected)] == [_shown(e) for e in expected]
        return self

    def then_refused(self, reason=None):
        """The command is refused and changes nothing; with no reason because its fence is stale."""
        if reason is None:
            assert isinstance(self._error, StaleFenceError)
        else:
            assert isinstance(self._error, DomainError)
            assert self._error.reason == reason
        assert state_digest(self.run.state) == self._before

    def admitting(self, *step_ids):
        """Admission is asked for exactly these steps now."""
        asked = effects(self.run.state).values()
        found = [effect.step_id for effect in asked if isinstance(effect, Admit) and not effect.not_before_us]
        assert found == list(step_ids)
        return self

    def queueing(self, *step_ids):
        """Exactly these steps wait for a place on an executor."""
        asked = effects(self.run.state).values()
        assert [effect.step_id for effect in asked if isinstance(effect, Queue)] == list(step_ids)
        return self

    def with_arguments(self, step_id, expected):
        """The step would run with these arguments."""
        assert self.run.arguments(step_id) == expected
        return self


def _paired(events, expected):
    missing = [None] * (len(events) - len(expected))
    return zip(events, [*expected, *missing][: len(events)], strict=True)


def _shown(event, like=None):
    """The event as text, without the message of its failure where the one it is compared with has none."""
    wanted = event if like is None or type(like) is not type(event) else like
    if "failure" in event.DESCRIPTOR.fields_by_name and not wanted.failure.message:
        copy = type(event)()
        copy.CopyFrom(event)
        copy.failure.message = ""
        event = copy
    return f"{type(event).__name__} {event}"


def at_ms(duration_ms):
    """A time, so long after the workflow's start."""
    return START_US + duration_ms * US_PER_MS


def failure(reason, message="", **fields):
    return value_pb2.Failure(reason=reason, message=message, **fields)


def checked(step_id, attempt=1, decision=events_pb2.DECISION_ALLOW):
    return events_pb2.PermissionChecked(step_id=step_id, attempt=attempt, decision=decision)


def attempt_started(step_id, *, attempt=1, fence=1, deadline_ms, budget_ms=0):
    return events_pb2.AttemptStarted(
        step_id=step_id,
        attempt=attempt,
        fence=fence,
        executor="worker",
        session_id="session",
        deadline_at_us=at_ms(deadline_ms),
        budget_ends_at_us=at_ms(budget_ms) if budget_ms else 0,
    )


def attempt_failed(step_id, reason, attempt=1, retry_ms=None, **fields):
    retry_at_us = 0 if retry_ms is None else at_ms(retry_ms)
    found = failure(reason, **fields)
    return events_pb2.AttemptFailed(step_id=step_id, attempt=attempt, failure=found, retry_at_us=retry_at_us)


def abandoned(step_id, attempt=1):
    return events_pb2.AttemptAbandoned(step_id=step_id, attempt=attempt)


def succeeded(step_id, output="null", attempt=1):
    return events_pb2.StepSucceeded(step_id=step_id, attempt=attempt, output=value_pb2.Value(json=output))


def collected(step_id, count):
    """A for_each step has the outputs of its items."""
    value = value_pb2.Value(collected=value_pb2.CollectedOutputs(count=count))
    return events_pb2.StepSucceeded(step_id=step_id, output=value)


def failed(step_id, reason, **fields):
    return events_pb2.StepFailed(step_id=step_id, failure=failure(reason, **fields))


def denied(step_id, reason="PERMISSION_DENIED", guard="permission"):
    return events_pb2.StepDenied(step_id=step_id, guard=guard, failure=failure(reason))


def unjoined(step_id):
    """A step is skipped because its join cannot be met."""
    return events_pb2.StepSkipped(step_id=step_id, reason=events_pb2.SKIP_REASON_JOIN)


def unwanted(step_id):
    """A step is skipped because its condition is false."""
    return events_pb2.StepSkipped(step_id=step_id, reason=events_pb2.SKIP_REASON_CONDITION)


def canceled(step_id):
    return events_pb2.StepCanceled(step_id=step_id)


def met(step_id):
    return events_pb2.ConditionMet(step_id=step_id)


def expanded(step_id, count):
    return events_pb2.ForEachExpanded(step_id=step_id, count=count)


def queued(step_id, deadline_ms):
    return events_pb2.StepQueued(step_id=step_id, waits_for="a free place", deadline_at_us=at_ms(deadline_ms))


def cancel_requested(reason="", at=0):
    return events_pb2.WorkflowCancelRequested(reason=reason, grace_ends_at_us=at_ms(at + GRACE_MS))


def workflow_failed(step_id, reason, **fields):
    return events_pb2.WorkflowFailed(step_id=step_id, failure=failure(reason, **fields))


WORKFLOW_SUCCEEDED = events_pb2.WorkflowSucceeded()
WORKFLOW_CANCELED = events_pb2.WorkflowCanceled()


def tried(step_id, link, reason, *, tool="", guard="", **fields):
    """A link of the step's fallback chain took the place of a failure."""
    return events_pb2.FallbackTried(
        step_id=step_id, link=link, failure=failure(reason, **fields), guard=guard, tool=tool
    )


def degraded(step_id, link, output="null", attempt=0):
    """A step has its output from a link."""
    return events_pb2.StepSucceeded(
        step_id=step_id, attempt=attempt, output=value_pb2.Value(json=output), degraded_by=link
    )


def rejected(step_id, reason="BREAKER_OPEN", attempt=1, retry_ms=None, budget_ms=0, **fields):
    """An attempt was not made."""
    return events_pb2.AttemptRejected(
        step_id=step_id,
        attempt=attempt,
        guard="breaker",
        failure=failure(reason, retryable=True, **fields),
        retry_at_us=0 if retry_ms is None else at_ms(retry_ms),
        budget_ends_at_us=at_ms(budget_ms) if budget_ms else 0,
    )
