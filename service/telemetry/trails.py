"""What telemetry knows of open workflows beyond the event at hand: tools of steps, when things began.

Invariant: a trail is the fold of its stream's events before the event at hand. What is not in memory is read from the
log, so nothing has to be kept over a restart, and memory is bounded by forgetting.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from podium.v1 import events_pb2 as e
from service.domain.trace_context import WorkflowTrace, trace_of
from store.contract import RecordedEvent
from store.records import decode_record

PAGE_EVENTS = 500
TRAILS_MAX = 10_000
NOTES_MAX = 64
"""What a span tells of what happened within it, at most."""
WORKFLOW_STREAMS = ("wf_", "call_", "batch_")


class Note(NamedTuple):
    """Something that happened within a step."""

    name: str
    at_us: int
    attributes: tuple[tuple[str, str], ...] = ()


class StepTrail:
    """A step that has begun and not ended."""

    __slots__ = ("attempt", "attempt_us", "executor", "notes", "queued_us", "started_us", "tool", "uses")

    def __init__(self, tool: str, started_us: int, uses: str = "") -> None:
        self.tool = tool
        """The last tool that it had anything to do with: what its span is named for."""
        self.uses = uses
        """The tool that it uses now; empty: none, as at a link with an old result or a value."""
        self.started_us = started_us
        self.queued_us = 0
        """Since when it waits; 0: it does not."""
        self.attempt = 0
        """The attempt that runs; 0: none does."""
        self.attempt_us = 0
        """When the attempt began that has not succeeded or failed, be it abandoned; 0: there is none."""
        self.executor = ""
        self.notes: list[Note] = []

    def note(self, note: Note) -> None:
        """Remember what happened, unless there is too much of it."""
        if len(self.notes) < NOTES_MAX:
            self.notes.append(note)


class Trail:
    """An open workflow."""

    __slots__ = ("expanded", "kind", "name", "started_us", "steps", "tenant", "tools", "trace", "workflow_id")

    def __init__(self, tenant: str, workflow_id: str) -> None:
        self.tenant = tenant
        self.workflow_id = workflow_id
        self.name = ""
        self.kind = 0
        self.started_us = 0
        self.trace = WorkflowTrace("", "", sampled=False)
        self.tools: dict[str, str] = {}
        """The tools of steps that have not ended, and of all for_each steps."""
        self.expanded: set[str] = set()
        """The for_each steps. They use no tool: their items do."""
        self.steps: dict[str, StepTrail] = {}

    def tool_of(self, step_id: str) -> str:
        """The tool that a step or an item of one had to do with last; empty: there is no such step."""
        step = self.steps.get(step_id)
        return self._defined(step_id) if step is None else step.tool

    def used_by(self, step_id: str) -> str:
        """The tool that a step or an item of one uses now; empty: none."""
        step = self.steps.get(step_id)
        return self.own_tool(step_id) if step is None else step.uses

    def own_tool(self, step_id: str) -> str:
        """The tool that a step or an item of one was defined with; empty: it uses none."""
        return "" if step_id in self.expanded else self._defined(step_id)

    def _defined(self, step_id: str) -> str:
        return self.tools.get(step_id) or self.tools.get(step_id.partition("[")[0], "")

    def began(self, step_id: str, at_us: int) -> StepTrail:
        """A step that something happens to."""
        step = self.steps.get(step_id)
        if step is None:
            step = self.steps[step_id] = StepTrail(self._defined(step_id), at_us, self.own_tool(step_id))
        return step

    def fold(self, event: e.Event, payload: Any, ratio: float) -> None:  # noqa: ANN401 - any event
        """Take in an event of the workflow."""
        kind = type(payload)
        at_us = event.recorded_at_us
        if kind is e.WorkflowStarted:
            self.name, self.kind, self.started_us = payload.name, payload.kind, at_us
            self.trace = trace_of(self.tenant, self.workflow_id, event.trace_context, ratio)
        elif kind is e.StepsAdded:
            self.tools.update((step.id, step.tool) for step in payload.steps)
            self.expanded.update(step.id for step in payload.steps if step.HasField("for_each"))
        elif kind in _ENDINGS:
            self.steps.pop(payload.step_id, None)
            if payload.step_id not in self.expanded:
                self.tools.pop(payload.step_id, None)
        elif kind in _HAPPENINGS:
            _HAPPENINGS[kind](self.began(payload.step_id, at_us), payload, at_us)


def _queued(step: StepTrail, _event: e.StepQueued, at_us: int) -> None:
    step.queued_us = step.queued_us or at_us


def _checked(step: StepTrail, event: e.PermissionChecked, _at_us: int) -> None:
    step.tool = event.tool


def _attempt_started(step: StepTrail, event: e.AttemptStarted, at_us: int) -> None:
    step.attempt, step.attempt_us, step.executor = event.attempt, at_us, event.executor
    step.queued_us = 0


def _attempt_failed(step: StepTrail, event: e.AttemptFailed, at_us: int) -> None:
    step.attempt = step.attempt_us = 0
    if event.retry_at_us:
        step.note(Note("retry", at_us, (("error.type", event.failure.reason),)))


def _attempt_abandoned(step: StepTrail, event: e.AttemptAbandoned, at_us: int) -> None:
    step.attempt = 0
    step.note(Note("abandoned", at_us, (("podium.attempt", str(event.attempt)),)))


def _attempt_rejected(step: StepTrail, event: e.AttemptRejected, at_us: int) -> None:
    step.queued_us = 0
    attributes = (("podium.guard", event.guard), ("error.type", event.failure.reason))
    step.note(Note("rejected", at_us, attributes))


def _input_rejected(step: StepTrail, event: e.InputRejected, at_us: int) -> None:
    step.note(Note("input rejected", at_us, (("podium.guard", event.guard),)))


def _rate_limited(step: StepTrail, event: e.RateLimited, at_us: int) -> None:
    step.note(Note("rate limited", at_us, (("podium.limit", event.limit),)))


def _fallback_tried(step: StepTrail, event: e.FallbackTried, at_us: int) -> None:
    attributes = (("podium.fallback.link", str(event.link)), ("error.type", event.failure.reason))
    step.note(Note("fallback", at_us, (*attributes, ("gen_ai.tool.name", event.tool))))
    step.tool, step.uses = event.tool or step.tool, event.tool
    step.attempt = step.attempt_us = step.queued_us = 0


def _cache_hit(step: StepTrail, event: e.CacheHit, at_us: int) -> None:
    step.note(Note("cache hit", at_us, (("podium.cache.stale", str(event.stale).lower()),)))


_HAPPENINGS: dict[type, Any] = {
    e.StepQueued: _queued,
    e.PermissionChecked: _checked,
    e.AttemptStarted: _attempt_started,
    e.AttemptFailed: _attempt_failed,
    e.AttemptAbandoned: _attempt_abandoned,
    e.AttemptRejected: _attempt_rejected,
    e.InputRejected: _input_rejected,
    e.RateLimited: _rate_limited,
    e.FallbackTried: _fallback_tried,
    e.CacheHit: _cache_hit,
}
_ENDINGS = frozenset({e.StepSucceeded, e.StepFailed, e.StepDenied, e.StepSkipped, e.StepCanceled})
WORKFLOW_ENDINGS = frozenset({e.WorkflowSucceeded, e.WorkflowFailed, e.WorkflowCanceled})


class StreamReader(Protocol):
    """Where a stream is read."""

    async def read_stream(
        self, tenant: str, stream_id: str, after_version: int = 0, limit: int | None = None
    ) -> Sequence[RecordedEvent]:
        """Read a stream."""


class Trails:
    """The trails of open workflows, those that were asked for least recently forgotten first."""

    def __init__(self, reader: StreamReader, ratio: float, trails_max: int = TRAILS_MAX) -> None:
        self._reader = reader
        self._max = trails_max
        self.ratio = ratio
        self._trails: OrderedDict[tuple[str, str], Trail] = OrderedDict()

    def __len__(self) -> int:
        return len(self._trails)

    async def before(self, recorded: RecordedEvent) -> Trail:
        """The trail of an event's workflow as it was before the event."""
        key = (recorded.tenant, recorded.stream_id)
        trail = self._trails.get(key)
        if trail is not None:
            self._trails.move_to_end(key)
            return trail
        if recorded.stream_version == 1:
            # There is nothing before it. To find that out in the log took longer than the whole workflow does.
            return self._remember(Trail(*key))
        return await self.load(*key, before=recorded.position)

    async def load(self, tenant: str, workflow_id: str, *, before: int) -> Trail:
        """Read a trail from what the log has before a position."""
        trail = Trail(tenant, workflow_id)
        version = 0
        while page := await self._reader.read_stream(tenant, workflow_id, version, PAGE_EVENTS):
            for earlier in page:
                if earlier.position < before:
                    event = decode_record(earlier.record)
                    kind = event.WhichOneof("payload")
                    if kind is not None:
                        trail.fold(event, getattr(event, kind), self.ratio)
            version = page[-1].stream_version
            if len(page) < PAGE_EVENTS or page[-1].position >= before:
                break
        return self._remember(trail)

    def _remember(self, trail: Trail) -> Trail:
        self._trails[trail.tenant, trail.workflow_id] = trail
        if len(self._trails) > self._max:
            self._trails.popitem(last=False)
        return trail

    def close(self, trail: Trail) -> None:
        """The workflow has ended."""
        self._trails.pop((trail.tenant, trail.workflow_id), None)
