"""Fallback: where a step would end badly, the next link of its chain that names the failure takes over.

It also takes over where an attempt is rejected, by an open breaker or a full bulkhead, instead of the repetition.

Invariant: links are tried in their order, each at most once, and none in a workflow that is being canceled. A failure
that no link names, or none is left for, ends the step.
"""

from __future__ import annotations

from google.protobuf.message import Message

from podium.v1 import definition_pb2, events_pb2, value_pb2
from service.domain.state import Step, Workflow

DENIED = "DENIED"
"""Names any refusal by admission, whatever its reason."""
EXHAUSTED = "EXHAUSTED"
"""Names any failure that was repeated as often as it may be."""
ANY = "*"
STALE_MISS = "STALE_MISS"
"""The failure of a link for which there is no old result."""


def ends_failed(state: Workflow, step: Step, failure: value_pb2.Failure, *, exhausted: bool = False) -> list[Message]:
    """What follows from a step's last failure: a link takes over, or the step has failed.

    `exhausted` says that the failure would have been repeated, had it not been the last attempt.
    """
    names = {ANY, failure.reason, EXHAUSTED} if exhausted else {ANY, failure.reason}
    taken_over = _taken_over(state, step, failure, names)
    return taken_over or [events_pb2.StepFailed(step_id=step.id, failure=failure)]


def acts_at_once(state: Workflow, step: Step, failure: value_pb2.Failure) -> list[Message]:
    """What follows from an attempt that admission rejected, before it is repeated: nothing, or a link takes over.

    A tool that is known not to be reached is not waited for by a step that has something else to go on with.
    """
    return _taken_over(state, step, failure, {ANY, failure.reason})


def ends_denied(state: Workflow, step: Step, guard: str, failure: value_pb2.Failure) -> list[Message]:
    """What follows from a refusal by admission: a link that names refusals takes over, or the step was denied."""
    taken_over = _taken_over(state, step, failure, {ANY, failure.reason, DENIED}, guard)
    return taken_over or [events_pb2.StepDenied(step_id=step.id, guard=guard, failure=failure)]


def stale_link(step: Step) -> definition_pb2.StaleFallback | None:
    """What the link that a step has come to wants of an old result; None: it wants none."""
    if not step.link:
        return None
    link = step.plan.definition.fallback[step.link - 1]
    return link.stale if link.HasField("stale") else None


def _taken_over(
    state: Workflow, step: Step, failure: value_pb2.Failure, names: set[str], guard: str = ""
) -> list[Message]:
    if state.canceling:
        return []
    chain = step.plan.definition.fallback
    for number in range(step.link + 1, len(chain) + 1):
        link = chain[number - 1]
        # Without names it is for whatever went wrong, but not for what was refused.
        if names.isdisjoint(link.on) if link.on else guard:
            continue
        tried = events_pb2.FallbackTried(
            step_id=step.id, link=number, failure=failure, guard=guard, tool=link.tool.tool
        )
        if not link.HasField("value"):
            return [tried]
        return [tried, events_pb2.StepSucceeded(step_id=step.id, output=link.value, degraded_by=number)]
    return []
