"""A workflow in memory: its state, its mailbox, and what a reader needs beyond the state."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.message import Message

from podium.v1 import events_pb2, value_pb2
from service.domain.commands import Command
from service.domain.state import Workflow
from service.engine.dispatch import Executor
from service.engine.keys import WorkflowKey
from store.records import encode_envelope

Reply = Callable[[Exception | None, int], None]
"""Called once the outcome is durable: with an error or None, and the log's position."""


def answering(future: asyncio.Future[int]) -> Reply:
    """A reply that settles a future, unless nobody waits for it any more."""

    def reply(error: Exception | None, position: int) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(position)

    return reply


class Cause:
    """What brought a command about, for the envelope of its events. None in its place: the service itself."""

    __slots__ = ("_encoded", "principal", "request_id", "trace_context")

    def __init__(self, principal: value_pb2.Principal, request_id: str = "", trace_context: str = "") -> None:
        self.principal = principal
        self.request_id = request_id
        self.trace_context = trace_context
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        """What follows in an envelope on the names of the stream; an executor's session has one for all it says."""
        if self._encoded is None:
            self._encoded = encode_envelope(
                shard=0,
                tenant="",
                stream_id="",
                principal=self.principal,
                request_id=self.request_id,
                trace_context=self.trace_context,
            )
        return self._encoded


class Offer(NamedTuple):
    """A place on an executor for a step that waited for one; None: what it waited for needs none."""

    step_id: str
    executor: Executor | None


Content = Command | Callable[[Workflow], Command | None]
"""A command, or something that makes one from the state at the time of the turn."""


class Mail(NamedTuple):
    """What is in a mailbox."""

    content: Content | Offer | None
    """None: only take a turn."""
    cause: Cause | None = None
    reply: Reply | None = None


class StepMarks:
    """When things happened to a step and where it is recorded."""

    __slots__ = ("ended_position", "ended_us", "queued_position", "started_us")

    def __init__(self) -> None:
        self.started_us = 0
        self.ended_us = 0
        self.ended_position = 0
        self.queued_position = 0
        """Where it is recorded that it waits, the last time that it does."""


_STEP_QUEUED, _STEP_STARTED, _STEP_ENDED, _WORKFLOW_STARTED, _WORKFLOW_ENDED = range(5)
_NOTED: dict[type[Message], int] = {
    events_pb2.StepQueued: _STEP_QUEUED,
    events_pb2.AttemptStarted: _STEP_STARTED,
    events_pb2.StepSucceeded: _STEP_ENDED,
    events_pb2.StepFailed: _STEP_ENDED,
    events_pb2.StepDenied: _STEP_ENDED,
    events_pb2.StepSkipped: _STEP_ENDED,
    events_pb2.StepCanceled: _STEP_ENDED,
    events_pb2.WorkflowStarted: _WORKFLOW_STARTED,
    events_pb2.WorkflowSucceeded: _WORKFLOW_ENDED,
    events_pb2.WorkflowFailed: _WORKFLOW_ENDED,
    events_pb2.WorkflowCanceled: _WORKFLOW_ENDED,
}


class Resident:
    """One workflow in memory."""

    __slots__ = (
        "active_us",
        "attended",
        "dropped",
        "ended_us",
        "envelope",
        "failed",
        "in_flight",
        "key",
        "loaded",
        "loading",
        "mailbox",
        "marks",
        "may_begin",
        "opened",
        "principal",
        "readers",
        "revocations_seen",
        "scheduled",
        "snapshot_version",
        "started_us",
        "state",
        "trace_context",
        "unadmitted",
        "version",
        "waiters",
    )

    def __init__(self, key: WorkflowKey) -> None:
        self.key = key
        self.state = Workflow()
        self.version = 0
        """The version of the stream with everything that was decided, durable or about to be."""
        self.snapshot_version = 0
        """The version of which its newest snapshot is, or was to be; 0: there was none yet."""
        self.mailbox: deque[Mail] = deque()
        self.scheduled = False
        self.in_flight = False
        """An append is on its way; until it is durable the state is ahead of the log and nobody may see it."""
        self.loaded = False
        self.loading = False
        self.attended = False
        """It had its first turn since it was loaded, so that its running attempts and waiting steps are known."""
        self.may_begin = False
        """Someone wants to start it, so that it is no mistake when the log does not know it."""
        self.dropped = False
        """It was removed from memory; whoever still holds it must ask again."""
        self.failed: Exception | None = None
        """Why the stream could not be folded: it is quarantined."""
        self.opened = False
        """It is in the table of open workflows, and not as parked. Not known of what was just loaded."""
        self.active_us = 0
        self.unadmitted: dict[str, None] = {}
        """Steps whose admission waits for a stored value, or for the next turn."""
        self.readers: list[Callable[[], None]] = []
        self.waiters: list[Callable[[Resident], None]] = []
        """Called when the workflow has ended, durably, or is dropped."""
        self.marks: dict[str, StepMarks] = {}
        self.principal: value_pb2.Principal | None = None
        self.trace_context = ""
        """The traceparent of whoever started it; empty: there was none."""
        self.started_us = 0
        self.ended_us = 0
        self.revocations_seen = 0
        """The revision of the revocations that it was last compared with."""
        self.envelope = b""
        """The envelope of events that the service itself causes."""

    @property
    def durable(self) -> bool:
        """Whether the state is what the log says, and what runs is known, so that it may be read."""
        return self.attended and not self.in_flight

    @property
    def log_fields(self) -> dict[str, str]:
        """What a line of the log tells beside its message."""
        return {**self.key._asdict(), "traceparent": self.trace_context}

    def clear(self) -> None:
        """Be as nothing was loaded yet."""
        self.state = Workflow()
        self.version = self.snapshot_version = 0
        self.marks = {}
        self.principal = None
        self.trace_context = ""
        self.started_us = self.ended_us = 0

    def note(self, payload: Any, recorded_at_us: int, position: int) -> None:  # noqa: ANN401 - any event of a workflow
        """Remember when an event of this workflow was recorded and where."""
        noted = _NOTED.get(type(payload))
        if noted is None:
            return
        if noted == _WORKFLOW_STARTED:
            self.started_us = recorded_at_us
            return
        if noted == _WORKFLOW_ENDED:
            self.ended_us = recorded_at_us
            return
        step_id = payload.step_id
        marks = self.marks.get(step_id)
        if marks is None:
            marks = self.marks[step_id] = StepMarks()
        if noted == _STEP_QUEUED:
            marks.queued_position = position
        elif noted == _STEP_STARTED:
            marks.started_us = marks.started_us or recorded_at_us
        else:
            marks.ended_us = recorded_at_us
            marks.ended_position = position
