"""A workflow as a viewer sees it: its steps and what they are doing, folded from what a watch delivers.

Invariant: the picture depends on the updates alone, so that a view that comes late, or a second time, shows the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.message import Message

from podium.v1 import definition_pb2, events_pb2, value_pb2
from service.cli.terminal_text import counted, last_line, one_line

if TYPE_CHECKING:
    from podium import Update

TAIL_BYTES = 4096
_NOTE_CHARACTERS = 300
ENDED = frozenset({"succeeded", "failed", "denied", "skipped", "canceled"})


@dataclass(slots=True)
class StepPicture:
    """One step. Times are microseconds since the Unix epoch; 0: not yet."""

    id: str
    tool: str
    state: str = "pending"
    parent: StepPicture | None = None
    items: list[StepPicture] = field(default_factory=list)
    attempts: int = 0
    chain: tuple[str, ...] = ()
    """What it falls back on, in words."""
    link: int = 0
    """The link of the chain that it has come to, from 1; 0: its own tool."""
    executor: str = ""
    fraction: float | None = None
    """How far the newest attempt is, 0 to 1; None when that is not known."""
    doing: str = ""
    """What the newest attempt says it is doing."""
    tail: str = ""
    """The last line of what it has streamed."""
    streamed_bytes: int = 0
    note: str = ""
    """Why it is in its state: a failure, a refusal, what it waits for."""
    started_us: int = 0
    ended_us: int = 0
    _recent: bytes = b""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in it."""
        return self.state in ENDED

    def stream(self, data: bytes) -> None:
        """Take in a piece of output."""
        self.streamed_bytes += len(data)
        self._recent = (self._recent + data)[-TAIL_BYTES:]
        # A piece may end inside a character; the rest of it comes with the next.
        self.tail = last_line(self._recent.decode("utf-8", "ignore")) or self.tail


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a viewer may want to be told: the step it is about (None: the workflow), and what happened."""

    step: StepPicture | None
    kind: str
    """The update's kind: the event's type, "chunk" or "progress"."""
    text: str


@dataclass(slots=True)
class WorkflowPicture:
    """The whole workflow."""

    id: str
    name: str = ""
    state: str = "running"
    steps: dict[str, StepPicture] = field(default_factory=dict)
    """By id, in the order in which they came to be; items too."""
    note: str = ""
    started_us: int = 0
    ended_us: int = 0
    event_count: int = 0
    last_us: int = 0
    """When the newest event was recorded."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in it."""
        return bool(self.ended_us)

    @property
    def roots(self) -> Iterator[StepPicture]:
        """The steps that are no items of others."""
        return (step for step in self.steps.values() if step.parent is None)

    @property
    def ended_count(self) -> int:
        """How many steps have ended."""
        return sum(step.ended for step in self.steps.values())

    def apply(self, update: Update) -> Change | None:
        """Take in what happened. Returns what there is to tell; None for nothing."""
        if update.chunk is not None:
            step = self.step(update.chunk.step_id)
            step.stream(update.chunk.data)
            return Change(step, "chunk", step.tail)
        if update.progress is not None:
            return self._progress(update.progress.step_id, update.progress.fraction, update.progress.message)
        if update.event is None:
            return None
        self.event_count += 1
        self.last_us = update.event.recorded_at_us
        handle = _HANDLERS.get(update.kind)
        return handle(self, update.event, getattr(update.event, update.kind)) if handle is not None else None

    def step(self, step_id: str) -> StepPicture:
        """Return a step, also one that nothing has announced."""
        return self.steps.setdefault(step_id, StepPicture(step_id, ""))

    def _progress(self, step_id: str, fraction: float, message: str) -> Change | None:
        step = self.step(step_id)
        if step.ended:
            return None
        step.fraction = fraction if fraction >= 0 else None
        step.doing = one_line(message, _NOTE_CHARACTERS)
        percent = f"{fraction:.0%} " if fraction >= 0 else ""
        return Change(step, "progress", f"{percent}{step.doing}".strip())


Handler: TypeAlias = Callable[[WorkflowPicture, events_pb2.Event, Any], Change | None]
StepEnding: TypeAlias = (
    events_pb2.StepSucceeded
    | events_pb2.StepFailed
    | events_pb2.StepDenied
    | events_pb2.StepSkipped
    | events_pb2.StepCanceled
)


def _because(failure: value_pb2.Failure) -> str:
    return one_line(f"{failure.reason}: {failure.message}" if failure.message else failure.reason, _NOTE_CHARACTERS)


def _workflow_started(picture: WorkflowPicture, event: events_pb2.Event, started: events_pb2.WorkflowStarted) -> Change:
    picture.name, picture.started_us = started.name, event.recorded_at_us
    return Change(None, "workflow_started", "started")


def _steps_added(picture: WorkflowPicture, _event: events_pb2.Event, added: events_pb2.StepsAdded) -> Change:
    for definition in added.steps:
        chain = tuple(_link_in_words(link) for link in definition.fallback)
        picture.steps[definition.id] = StepPicture(definition.id, definition.tool, chain=chain)
    return Change(None, "steps_added", counted(len(added.steps), "step"))


def _link_in_words(link: definition_pb2.Fallback) -> str:
    if link.HasField("tool"):
        return one_line(link.tool.tool, 64)
    return "an old result" if link.HasField("stale") else "a declared value"


def _cancel_requested(
    picture: WorkflowPicture, _event: events_pb2.Event, requested: events_pb2.WorkflowCancelRequested
) -> Change:
    picture.state, picture.note = "canceling", one_line(requested.reason, _NOTE_CHARACTERS)
    return Change(None, "workflow_cancel_requested", f"canceling {picture.note}".strip())


def _workflow_ended(state: str) -> Handler:
    def handle(picture: WorkflowPicture, event: events_pb2.Event, ended: Message) -> Change:
        picture.state, picture.ended_us = state, event.recorded_at_us
        if isinstance(ended, events_pb2.WorkflowFailed):
            picture.note = _because(ended.failure)
        return Change(None, f"workflow_{state}", f"{state} {picture.note}".strip())

    return handle


def _expanded(picture: WorkflowPicture, event: events_pb2.Event, expanded: events_pb2.ForEachExpanded) -> Change:
    parent = picture.step(expanded.step_id)
    parent.state, parent.started_us = "expanded", event.recorded_at_us
    for number in range(expanded.count):
        item = StepPicture(f"{parent.id}[{number}]", parent.tool, parent=parent, chain=parent.chain)
        parent.items.append(item)
        picture.steps[item.id] = item
    return Change(parent, "for_each_expanded", f"runs for {counted(expanded.count, 'item')}")


def _queued(picture: WorkflowPicture, _event: events_pb2.Event, queued: events_pb2.StepQueued) -> Change:
    step = picture.step(queued.step_id)
    step.state, step.note = "queued", f"waits for {one_line(queued.waits_for, _NOTE_CHARACTERS) or 'an executor'}"
    return Change(step, "step_queued", step.note)


def _checked(
    picture: WorkflowPicture, _event: events_pb2.Event, checked: events_pb2.PermissionChecked
) -> Change | None:
    if checked.decision != events_pb2.DECISION_DENY:
        return None
    step = picture.step(checked.step_id)
    missing = ", ".join(checked.missing)
    step.note = f"{checked.tool} needs {missing} (rule {checked.rule})" if missing else f"rule {checked.rule}"
    return None


def _attempt_started(picture: WorkflowPicture, event: events_pb2.Event, started: events_pb2.AttemptStarted) -> Change:
    step = picture.step(started.step_id)
    step.state, step.attempts, step.executor, step.note = "running", started.attempt, started.executor, ""
    step.fraction, step.doing = None, ""
    step.started_us = step.started_us or event.recorded_at_us
    again = f", attempt {step.attempts}" if step.attempts > 1 else ""
    return Change(step, "attempt_started", f"runs on {one_line(started.executor, 64)}{again}")


def _attempt_failed(picture: WorkflowPicture, event: events_pb2.Event, failed: events_pb2.AttemptFailed) -> Change:
    step = picture.step(failed.step_id)
    step.note = _because(failed.failure)
    again = ""
    if failed.retry_at_us:
        step.state = "backing_off"
        again = f", next attempt in {max(0, failed.retry_at_us - event.recorded_at_us) / 1e6:.1f} s"
    step.note += again
    return Change(step, "attempt_failed", f"attempt {failed.attempt} failed: {step.note}")


def _attempt_rejected(
    picture: WorkflowPicture, event: events_pb2.Event, rejected: events_pb2.AttemptRejected
) -> Change:
    step = picture.step(rejected.step_id)
    step.attempts, step.note = rejected.attempt, _because(rejected.failure)
    if rejected.retry_at_us:
        step.state = "backing_off"
        step.note += f", next attempt in {max(0, rejected.retry_at_us - event.recorded_at_us) / 1e6:.1f} s"
    return Change(step, "attempt_rejected", f"attempt {rejected.attempt} was not made: {step.note}")


def _fallback_tried(picture: WorkflowPicture, _event: events_pb2.Event, tried: events_pb2.FallbackTried) -> Change:
    step = picture.step(tried.step_id)
    step.state, step.link, step.tool = "ready", tried.link, tried.tool or step.tool
    step.note = f"falls back on {_of_link(step)}, link {tried.link}: {_because(tried.failure)}"
    return Change(step, "fallback_tried", step.note)


def _of_link(step: StepPicture) -> str:
    return step.chain[step.link - 1] if 0 < step.link <= len(step.chain) else "something else"


def _attempt_abandoned(
    picture: WorkflowPicture, _event: events_pb2.Event, abandoned: events_pb2.AttemptAbandoned
) -> Change:
    step = picture.step(abandoned.step_id)
    step.note = f"attempt {abandoned.attempt} was given up and may still be running"
    return Change(step, "attempt_abandoned", step.note)


def _step_ended(state: str) -> Handler:
    def handle(picture: WorkflowPicture, event: events_pb2.Event, ended: StepEnding) -> Change:
        step = picture.step(ended.step_id)
        step.state, step.ended_us = state, event.recorded_at_us
        step.fraction, step.doing = None, ""
        if isinstance(ended, events_pb2.StepFailed):
            step.note = _because(ended.failure)
        elif isinstance(ended, events_pb2.StepDenied):
            step.note = step.note or _because(ended.failure)
        elif isinstance(ended, events_pb2.StepSkipped):
            step.note = _SKIPPED.get(ended.reason, "")
        elif isinstance(ended, events_pb2.StepSucceeded) and ended.degraded_by:
            step.link = ended.degraded_by
            step.note = f"degraded: {_of_link(step)}, link {step.link}"
        else:
            step.note = ""
        return Change(step, f"step_{state}", f"{state}{': ' if step.note else ''}{step.note}")

    return handle


_SKIPPED = {
    events_pb2.SKIP_REASON_CONDITION: "its condition was false",
    events_pb2.SKIP_REASON_JOIN: "its join could not be met",
}
_HANDLERS: dict[str, Handler] = {
    "workflow_started": _workflow_started,
    "steps_added": _steps_added,
    "workflow_cancel_requested": _cancel_requested,
    "workflow_succeeded": _workflow_ended("succeeded"),
    "workflow_failed": _workflow_ended("failed"),
    "workflow_canceled": _workflow_ended("canceled"),
    "for_each_expanded": _expanded,
    "step_queued": _queued,
    "permission_checked": _checked,
    "attempt_started": _attempt_started,
    "attempt_failed": _attempt_failed,
    "attempt_abandoned": _attempt_abandoned,
    "attempt_rejected": _attempt_rejected,
    "fallback_tried": _fallback_tried,
    **{f"step_{state}": _step_ended(state) for state in sorted(ENDED)},
}
