"""Every check is shown to be worth something: what breaks its invariant is found out by it alone."""

from functools import wraps

import pytest
from hypothesis import find

from podium.v1 import events_pb2 as e
from service.domain import commands as c
from service.domain import state as s
from service.domain.decide import decide
from service.domain.errors import IllegalState
from service.domain.evolve import evolve
from tests.property.domain.invariants import Broken
from tests.property.domain.plans import SEARCH, plans
from tests.property.domain.walk import Walk


def after(*kinds):
    """A fold that does something more after events of these kinds."""

    def broken(change):
        @wraps(change)
        def fold(state, event):
            evolve(state, event)
            if not kinds or isinstance(event, kinds):
                change(state, event)

        return fold

    return broken


def ignoring(kind):
    """A fold that knows nothing of one kind of event."""

    def fold(state, event):
        if not isinstance(event, kind):
            evolve(state, event)

    fold.__name__ = f"ignores_{kind.__name__}"
    return fold


@after(e.StepQueued, e.AttemptFailed)
def forgets_what_changed(state, event):
    state.changed.pop(event.step_id, None)


@after(e.WorkflowCancelRequested)
def tells_no_executor_of_the_cancel(state, _event):
    state.changed.clear()


@after(e.AttemptStarted)
def remembers_what_is_not_in_the_event(state, event):
    state.steps[event.step_id].deadline_at_us += id(event) % 1000 + 1


@after(e.StepSucceeded, e.StepFailed, e.StepDenied)
def keeps_the_place_of_an_ended_step(state, event):
    if state.steps[event.step_id].parent is None:
        state.running_slots += 1


@after(e.StepSucceeded, e.StepFailed)
def keeps_the_place_of_an_ended_item(state, event):
    if state.steps[event.step_id].parent is not None:
        state.steps[event.step_id].parent.items_running += 1


@after(e.StepsAdded)
def passes_the_limit(state, _event):
    for step in list(state.held):
        step.holds_slot = True
        state.running_slots += 1
    state.held.clear()


@after(e.WorkflowCancelRequested)
def leaves_the_canceled_unfinished(state, _event):
    state.unfinished += 1


@after(e.StepsAdded)
def makes_everything_ready(state, _event):
    for step in state.steps.values():
        if step.state == s.PENDING:
            step.state, step.holds_slot = s.READY, True
            state.running_slots += 1


@after(e.ConditionMet)
def runs_a_for_each_as_one_step(state, event):
    step = state.steps[event.step_id]
    if step.state == s.PENDING:
        state.to_settle.pop(step.id)
        step.state, step.holds_slot = s.READY, True
        state.running_slots += 1


@after(e.StepSucceeded)
def tells_no_dependent(state, event):
    for dependents in list(state.dependents.values()):
        dependents.clear()


@after(e.StepsAdded)
def forgets_to_settle(state, _event):
    state.to_settle.clear()


@after(e.StepSkipped, e.StepFailed)
def never_counts_to_the_end(state, _event):
    state.unfinished += 1


def spends_a_fence(state, command, ports, rules):
    state.last_fence += isinstance(command, c.StartAttempt)
    return decide(state, command, ports, rules)


def changes_and_refuses(state, command, ports, rules):
    if isinstance(command, c.CompleteAttempt) and command.attempt == 7:
        state.name = "changed"
        raise IllegalState("REFUSED", "and yet it changed something")
    return decide(state, command, ports, rules)


def uses_a_fence_again(state, command, ports, rules):
    events = decide(state, command, ports, rules)
    for event in events:
        if isinstance(event, e.AttemptStarted):
            event.fence = 1
    return events


def believes_everybody(state, command, ports, rules):
    if isinstance(command, c.CompleteAttempt):
        return [e.StepSucceeded(step_id=command.step_id, attempt=command.attempt)]
    return decide(state, command, ports, rules)


def counts_attempts_from_none(state, command, ports, rules):
    events = decide(state, command, ports, rules)
    for event in events:
        if isinstance(event, e.AttemptStarted):
            event.attempt -= 1
    return events


def ends_well_whatever_failed(state, command, ports, rules):
    events = decide(state, command, ports, rules)
    return [e.WorkflowSucceeded() if isinstance(event, e.WorkflowFailed) else event for event in events]


def tries_the_first_link_again(state, command, ports, rules):
    events = decide(state, command, ports, rules)
    for event in events:
        if isinstance(event, e.FallbackTried):
            event.link = 1
    return events


def says_nothing_of_the_link(state, command, ports, rules):
    events = decide(state, command, ports, rules)
    for event in events:
        if isinstance(event, e.StepSucceeded):
            event.degraded_by = 0
    return events


def gives_up_in_the_place_of_a_link(state, command, ports, rules):
    events = decide(state, command, ports, rules)
    return [
        e.StepFailed(step_id=event.step_id, failure=event.failure)
        if isinstance(event, e.FallbackTried) and not event.guard and event.tool
        else event
        for event in events
    ]


def repeats_in_the_place_of_a_link(state, command, ports, rules):
    events = decide(state, command, ports, rules)
    if isinstance(command, c.RejectAttempt) and events and isinstance(events[-1], e.FallbackTried):
        events.pop()
        events[-1].retry_at_us = command.now_us + 1
    return events


@after(e.FallbackTried)
def counts_the_attempts_before_a_link(state, event):
    state.steps[event.step_id].attempts_before = 0


@after(e.FallbackTried)
def lets_a_link_try_once_more(state, event):
    state.steps[event.step_id].attempts_before += 1


FOLDS = [
    ("effects", forgets_what_changed),
    ("effects", tells_no_executor_of_the_cancel),
    ("rebuild", ignoring(e.StepQueued)),
    ("rebuild", ignoring(e.WorkflowFinishRequested)),
    ("rebuild", ignoring(e.FallbackTried)),
    ("rebuild", ignoring(e.AttemptRejected)),
    ("rebuild", counts_the_attempts_before_a_link),
    ("links", ignoring(e.FallbackTried)),
    ("links", lets_a_link_try_once_more),
    ("rebuild", remembers_what_is_not_in_the_event),
    ("places", keeps_the_place_of_an_ended_step),
    ("places", keeps_the_place_of_an_ended_item),
    ("places", passes_the_limit),
    ("places", leaves_the_canceled_unfinished),
    ("joins", makes_everything_ready),
    ("joins", runs_a_for_each_as_one_step),
    ("ends", tells_no_dependent),
    ("ends", never_counts_to_the_end),
    ("progress", tells_no_dependent),
    ("progress", forgets_to_settle),
]
DECIDERS = [
    ("purity", spends_a_fence),
    ("purity", changes_and_refuses),
    ("fences", uses_a_fence_again),
    ("fences", believes_everybody),
    ("fences", counts_attempts_from_none),
    ("ends", ends_well_whatever_failed),
    ("links", tries_the_first_link_again),
    ("links", says_nothing_of_the_link),
    ("links", gives_up_in_the_place_of_a_link),
    ("links", repeats_in_the_place_of_a_link),
]


def breaks(plan, invariant, **broken):
    try:
        Walk(plan, only=invariant, **broken).take()
    except Broken as found:
        return found.invariant == invariant
    except (KeyError, IndexError, AttributeError, ValueError):
        # What is broken badly enough falls over by itself; that is not what is asked here.
        return False
    return False


def name_of(value):
    return value if isinstance(value, str) else value.__name__


@pytest.mark.parametrize(("invariant", "fold"), FOLDS, ids=name_of)
def test_a_broken_fold_is_found_out(invariant, fold):
    find(plans(), lambda plan: breaks(plan, invariant, fold=fold), settings=SEARCH)


@pytest.mark.parametrize(("invariant", "decider"), DECIDERS, ids=name_of)
def test_a_broken_decider_is_found_out(invariant, decider):
    find(plans(), lambda plan: breaks(plan, invariant, decider=decider), settings=SEARCH)
