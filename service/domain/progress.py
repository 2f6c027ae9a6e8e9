"""How steps move on: ready when what they depend on allows it, within the limits of parallel steps, to their ends.

Invariant: who ends gives back its place, and every dependent hears of it once. What it costs does not grow with the
workflow, but where all of it is canceled.
"""

from __future__ import annotations

from collections import deque

from service.domain import state as s
from service.domain.joins import cannot_join, joins
from service.domain.state import Step, Workflow


def consider(state: Workflow, step: Step) -> None:
    """Move a pending step on when its dependencies allow it."""
    total, ended = len(step.plan.depends_on), len(step.plan.depends_on) - step.waiting
    if joins(step.plan, total, ended, step.succeeded):
        if step.plan.needs_evaluation:
            # Also after its condition was met: a for_each step waits for its items, whatever else ends meanwhile.
            state.to_settle[step.id] = None
        else:
            make_ready(state, step)
    elif cannot_join(step.plan, total, ended, step.succeeded):
        state.to_settle[step.id] = None


def make_ready(state: Workflow, step: Step) -> None:
    """A step may run: at once, or when the limits of parallel steps allow it."""
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


def finish(state: Workflow, step: Step, ending: int) -> None:
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
            consider(state, dependent)


def cancel_steps(state: Workflow, *, keep_running: bool) -> None:
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
