"""Whatever order things happen in, the invariants hold after every event, and every workflow ends."""

from contextlib import suppress

from hypothesis import find, given
from hypothesis.errors import NoSuchExample

from podium.v1 import events_pb2 as e
from service.domain import state as s
from tests.golden.events.samples import NOT_OF_A_WORKFLOW
from tests.property.domain.plans import SURVEY, examples, plans
from tests.property.domain.reference import whole
from tests.property.domain.walk import FIELDS, Walk


@examples(200)
@given(plans())
def test_every_walk_keeps_every_invariant(plan):
    Walk(plan).take()


# What admission and the catalog record beside a workflow's own events.
NOT_WALKED = {"InputRejected", "RateLimited", *NOT_OF_A_WORKFLOW}

SITUATIONS = {
    "an attempt is repeated": lambda walk: any(
        isinstance(event, e.AttemptStarted) and event.attempt > 1 for event in walk.events
    ),
    "an item is canceled though another had its output": lambda walk: any(
        {item.state for item in step.items} >= {s.CANCELED, s.SUCCEEDED} for step in walk.state.steps.values()
    ),
    "a for_each ends with failed items": lambda walk: any(
        step.state == s.SUCCEEDED and any(item.state == s.FAILED for item in step.items)
        for step in walk.state.steps.values()
    ),
    "there are too many items": lambda walk: any(
        isinstance(event, e.StepFailed) and event.failure.reason == "TOO_MANY_STEPS" for event in walk.events
    ),
    "a condition cannot be evaluated": lambda walk: any(
        isinstance(event, e.StepFailed) and event.failure.reason == "CONDITION_ERROR" for event in walk.events
    ),
    "a reference leads nowhere": lambda walk: any(
        isinstance(event, e.StepFailed) and event.failure.reason == "REFERENCE_ERROR" for event in walk.events
    ),
    "a workflow is too slow": lambda walk: any(
        isinstance(event, e.WorkflowFailed) and event.failure.reason == "WORKFLOW_TIMEOUT" for event in walk.events
    ),
    "no executor comes": lambda walk: any(
        isinstance(event, e.StepFailed) and event.failure.reason == "SCHEDULE_TO_START_TIMEOUT" for event in walk.events
    ),
    "steps are added to steps that have ended": lambda walk: any(
        isinstance(event, e.StepsAdded)
        and any(name in ended for definition in event.steps for name in definition.depends_on)
        for event, ended in _with_ended(walk.events)
    ),
    "a link's tool has the output": lambda walk: any(
        isinstance(event, e.StepSucceeded) and event.degraded_by and event.attempt for event in walk.events
    ),
    "an old result is the output": lambda walk: any(
        isinstance(event, e.StepSucceeded)
        and event.degraded_by
        and walk.reference.definitions[whole(event.step_id)].fallback[event.degraded_by - 1].HasField("stale")
        for event in walk.events
    ),
    "a refusal is fallen back from": lambda walk: any(
        isinstance(event, e.FallbackTried) and event.guard for event in walk.events
    ),
    "an exhausted failure is fallen back from": lambda walk: any(
        isinstance(event, e.FallbackTried)
        and not event.guard
        and "EXHAUSTED" in walk.reference.definitions[whole(event.step_id)].fallback[event.link - 1].on
        for event in walk.events
    ),
    "a chain is used up": lambda walk: any(
        isinstance(event, e.StepFailed) and event.failure.reason == "STALE_MISS" for event in walk.events
    ),
    "a result comes after the cancel": lambda walk: any(
        isinstance(event, e.StepSucceeded) and event.attempt and canceling
        for event, canceling in _with_canceling(walk.events)
    ),
}


def _with_ended(events):
    ended = set()
    for event in events:
        yield event, ended
        if isinstance(event, e.StepSucceeded | e.StepFailed):
            ended.add(event.step_id)


def _with_canceling(events):
    canceling = False
    for event in events:
        yield event, canceling
        canceling = canceling or isinstance(event, e.WorkflowCancelRequested)


def test_walks_come_by_every_event_and_every_situation():
    missing = (FIELDS.keys() - NOT_WALKED) | SITUATIONS.keys()

    def nothing_is_missing(plan):
        walk = Walk(plan, only="nothing")
        walk.take()
        missing.difference_update(type(event).__name__ for event in walk.events)
        missing.difference_update([name for name in missing & SITUATIONS.keys() if SITUATIONS[name](walk)])
        return not missing

    with suppress(NoSuchExample):
        find(plans(), nothing_is_missing, settings=SURVEY)
    assert missing == set()
