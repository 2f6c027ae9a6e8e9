"""The effects a state asks for: what the engine must do in the world, as data.

`changed_effects` says what became different since it was last asked; `effects` finds everything from scratch and is
for recovery. Adding up the changes gives the same as starting from scratch (a property test holds them equal).
"""

from __future__ import annotations

from typing import NamedTuple

from service.domain import state as s
from service.domain.state import Step, Workflow


class Admit(NamedTuple):
    """Ask admission for the step, and start an attempt or queue it."""

    step_id: str
    not_before_us: int = 0


class Queue(NamedTuple):
    """Offer the step to the next executor with a free place."""

    step_id: str


class Run(NamedTuple):
    """An attempt is assigned: see that its executor has it, and tell it when it is not wanted any more."""

    step_id: str
    attempt: int
    fence: int
    canceled: bool = False


Effect = Admit | Queue | Run


def effect_of(state: Workflow, step: Step) -> Effect | None:
    """What a step asks for; None: nothing."""
    if step.state == s.READY and step.holds_slot:
        return Admit(step.id)
    if step.state == s.BACKING_OFF:
        return Admit(step.id, step.not_before_us)
    if step.state == s.QUEUED:
        return Queue(step.id)
    if step.state == s.RUNNING:
        return Run(step.id, step.attempts, step.fence, canceled=state.canceling)
    return None


def changed_effects(state: Workflow) -> dict[str, Effect | None]:
    """What changed since the last call, by step; None: the step asks for nothing any more."""
    changed = {step_id: effect_of(state, state.steps[step_id]) for step_id in state.changed}
    state.changed.clear()
    return changed


def effects(state: Workflow) -> dict[str, Effect]:
    """Everything the state asks for, by step, from scratch."""
    found = ((step.id, effect_of(state, step)) for step in state.steps.values())
    return {step_id: effect for step_id, effect in found if effect is not None}
