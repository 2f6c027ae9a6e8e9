"""What the events of workflows say about tools: the fold that counts them.

Most events name a step and not its tool, and an attempt's end does not say when it began; so what a workflow's events
said before is remembered, for as long as it is open. `Run` is that memory of one workflow.

A step uses one tool at a time: its own, or that of the link of its fallback chain that it has come to, or none when the
link is a value. Each use of a tool ends once: it succeeded, failed, or was denied. A for_each step uses no tool; its
items do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podium.v1 import events_pb2
from service.projections.tool_tally import ToolTally
from store.records import TYPE_NUMBERS

TallyOf = Callable[[str], ToolTally]
"""The tally of a tool, of the tenant and the minute of the event that is folded."""

_OPEN = (events_pb2.BREAKER_STATE_OPEN, events_pb2.BREAKER_STATE_FORCED_OPEN)
_ITEM = "["
"""What stands between the id of a for_each step and the number of an item."""
_REJECTED = {"breaker": "breaker_rejected", "bulkhead": "bulkhead_rejected"}


class OpenStep:
    """What is remembered of a step that waits or runs, or has left its own tool."""

    __slots__ = ("link_tool", "queued_at_us", "started_at_us")

    def __init__(self, link_tool: str | None = None, queued_at_us: int = 0, started_at_us: int = 0) -> None:
        self.link_tool = link_tool
        """The tool of the link it has come to; empty: a value; None: it uses its own tool."""
        self.queued_at_us = queued_at_us
        """Since when it waits; 0: it does not."""
        self.started_at_us = started_at_us
        """Since when an attempt runs; 0: none does."""


class Run:
    """What is remembered of a workflow."""

    __slots__ = ("changed", "ended", "plans", "steps", "tools")

    def __init__(self) -> None:
        self.tools: dict[str, str] = {}
        """The tool of each step, and under `id[` that of the items of a for_each step."""
        self.steps: dict[str, OpenStep] = {}
        """Those of which there is something to remember."""
        self.plans: dict[int, dict[str, str]] = {}
        """What was added to `tools` and is not written down yet, by the position of the event."""
        self.changed: set[str] = set()
        """The steps whose memory is not as it was written down."""
        self.ended = False

    def plan(self, tools: dict[str, str]) -> None:
        """Steps were added. One that is there already keeps its tool, as it does in the workflow."""
        self.tools = tools | self.tools if self.tools else tools

    def own_tool(self, step_id: str) -> str:
        """The tool that a step was defined with; empty: it uses none, or is not known."""
        if (tool := self.tools.get(step_id)) is not None:
            return tool
        parent, mark, _ = step_id.partition(_ITEM)
        return self.tools.get(parent + mark, "") if mark else ""

    def tool(self, step_id: str) -> str:
        """The tool that a step uses now; empty: none."""
        step = self.steps.get(step_id)
        if step is not None and step.link_tool is not None:
            return step.link_tool
        return self.own_tool(step_id)

    def open_step(self, step_id: str) -> OpenStep:
        """What is remembered of a step, to be changed."""
        self.changed.add(step_id)
        step = self.steps.get(step_id)
        if step is None:
            step = self.steps[step_id] = OpenStep()
        return step

    def stop_attempt(self, step_id: str, now_us: int) -> int | None:
        """An attempt does not run any more; how long it did in microseconds, None when none ran."""
        step = self.steps.get(step_id)
        if step is None or not step.started_at_us:
            return None
        taken_us = now_us - step.started_at_us
        self.changed.add(step_id)
        step.started_at_us = 0
        if step.link_tool is None:
            del self.steps[step_id]
        return taken_us

    def stop_waiting(self, step_id: str) -> None:
        """The step waits for its next attempt now, and not for a place."""
        step = self.steps.get(step_id)
        if step is None or not step.queued_at_us:
            return
        self.changed.add(step_id)
        step.queued_at_us = 0
        if step.link_tool is None:
            del self.steps[step_id]

    def forget(self, step_id: str) -> None:
        """The step has ended."""
        if self.steps.pop(step_id, None) is not None:
            self.changed.add(step_id)


def _steps_added(run: Run, event: events_pb2.Event, _now_us: int, _tally: TallyOf) -> None:
    added = {(step.id + _ITEM if step.HasField("for_each") else step.id): step.tool for step in event.steps_added.steps}
    run.plans[event.position] = added
    run.plan(added)


def _workflow_ended(run: Run, _event: events_pb2.Event, _now_us: int, _tally: TallyOf) -> None:
    run.ended = True


def _step_queued(run: Run, event: events_pb2.Event, now_us: int, _tally: TallyOf) -> None:
    run.open_step(event.step_queued.step_id).queued_at_us = now_us


def _attempt_started(run: Run, event: events_pb2.Event, now_us: int, tally: TallyOf) -> None:
    step_id = event.attempt_started.step_id
    step = run.open_step(step_id)
    if tool := run.tool(step_id):
        counted = tally(tool)
        counted.count("attempts")
        if step.queued_at_us:
            counted.queue_time.add(now_us - step.queued_at_us)
    step.queued_at_us = 0
    step.started_at_us = now_us


def _attempt_failed(run: Run, event: events_pb2.Event, now_us: int, tally: TallyOf) -> None:
    failed = event.attempt_failed
    tool = run.tool(failed.step_id)
    taken_us = run.stop_attempt(failed.step_id, now_us)
    if tool:
        counted = tally(tool)
        counted.count_error(failed.failure.reason)
        if taken_us is not None:
            counted.latency.add(taken_us)


def _attempt_rejected(run: Run, event: events_pb2.Event, _now_us: int, tally: TallyOf) -> None:
    rejected = event.attempt_rejected
    if (tool := run.tool(rejected.step_id)) and (what := _REJECTED.get(rejected.guard)):
        tally(tool).count(what)
    run.stop_waiting(rejected.step_id)


def _attempt_abandoned(run: Run, event: events_pb2.Event, _now_us: int, tally: TallyOf) -> None:
    # How long it ran is counted if it ends: with a timeout comes a failure, with a cancel nothing.
    if tool := run.tool(event.attempt_abandoned.step_id):
        tally(tool).count("abandoned")


def _step_succeeded(run: Run, event: events_pb2.Event, now_us: int, tally: TallyOf) -> None:
    succeeded = event.step_succeeded
    step_id = succeeded.step_id
    if tool := run.tool(step_id):
        counted = tally(tool)
        counted.count("succeeded")
        if succeeded.attempt and (taken_us := run.stop_attempt(step_id, now_us)) is not None:
            counted.latency.add(taken_us)
    if succeeded.degraded_by and (own := run.own_tool(step_id)):
        tally(own).count("degraded")
    run.forget(step_id)


def _step_failed(run: Run, event: events_pb2.Event, _now_us: int, tally: TallyOf) -> None:
    _ended(run, event.step_failed.step_id, "failed", tally)


def _step_denied(run: Run, event: events_pb2.Event, _now_us: int, tally: TallyOf) -> None:
    _ended(run, event.step_denied.step_id, "denied", tally)


def _ended(run: Run, step_id: str, how: str, tally: TallyOf) -> None:
    if tool := run.tool(step_id):
        tally(tool).count(how)
    run.forget(step_id)


def _step_canceled(run: Run, event: events_pb2.Event, _now_us: int, _tally: TallyOf) -> None:
    run.forget(event.step_canceled.step_id)


def _fallback_tried(run: Run, event: events_pb2.Event, _now_us: int, tally: TallyOf) -> None:
    tried = event.fallback_tried
    _ended(run, tried.step_id, "denied" if tried.guard else "failed", tally)
    run.open_step(tried.step_id).link_tool = tried.tool


def _cache_hit(_run: Run, event: events_pb2.Event, _now_us: int, tally: TallyOf) -> None:
    counted = tally(event.cache_hit.tool)
    counted.count("cache_hits")
    if event.cache_hit.stale:
        counted.count("cache_stale")


def _rate_limited(run: Run, event: events_pb2.Event, _now_us: int, tally: TallyOf) -> None:
    if tool := run.tool(event.rate_limited.step_id):
        tally(tool).count("rate_limited")


FOLDS: dict[int, Callable[[Run, Any, int, TallyOf], None]] = {
    TYPE_NUMBERS["steps_added"]: _steps_added,
    TYPE_NUMBERS["workflow_succeeded"]: _workflow_ended,
    TYPE_NUMBERS["workflow_failed"]: _workflow_ended,
    TYPE_NUMBERS["workflow_canceled"]: _workflow_ended,
    TYPE_NUMBERS["step_queued"]: _step_queued,
    TYPE_NUMBERS["attempt_started"]: _attempt_started,
    TYPE_NUMBERS["attempt_failed"]: _attempt_failed,
    TYPE_NUMBERS["attempt_rejected"]: _attempt_rejected,
    TYPE_NUMBERS["attempt_abandoned"]: _attempt_abandoned,
    TYPE_NUMBERS["step_succeeded"]: _step_succeeded,
    TYPE_NUMBERS["step_failed"]: _step_failed,
    TYPE_NUMBERS["step_denied"]: _step_denied,
    TYPE_NUMBERS["step_canceled"]: _step_canceled,
    TYPE_NUMBERS["fallback_tried"]: _fallback_tried,
    TYPE_NUMBERS["cache_hit"]: _cache_hit,
    TYPE_NUMBERS["rate_limited"]: _rate_limited,
}
"""The fold of each event of a workflow that says something about tools."""
BREAKER_TRANSITIONED = TYPE_NUMBERS["breaker_transitioned"]
"""The one event that is in no workflow's stream."""


def fold_breaker(event: events_pb2.Event, tally: TallyOf) -> None:
    """Count a breaker that opened."""
    turned = event.breaker_transitioned
    if turned.to_state in _OPEN and turned.from_state not in _OPEN:
        tally(turned.tool).count("breaker_opened")
