"""Rebuilding a state from its records, and telling two states apart."""

import pytest

from podium.v1 import definition_pb2 as pb
from podium.v1 import events_pb2, value_pb2
from service.domain.canonical import canonical, state_digest
from service.domain.evolve import FOLDS, evolve
from service.domain.rebuild import RebuildError, rebuild
from service.domain.state import Workflow
from store.records import decode_record, encode_envelope, encode_record
from tests.golden.events.samples import NOT_OF_A_WORKFLOW
from tests.unit.domain.scenario import given
from tests.unit.domain.workflow_run import (
    adds,
    begins,
    breaks,
    cancels,
    denies,
    queues,
    runs,
    starts,
    step,
    waits,
)

ENVELOPE = encode_envelope(shard=0, tenant="acme", stream_id="wf_1")

HISTORY = (
    starts(
        step("a", tool="look"),
        step("b", condition="steps.a.output > 1"),
        step("c", "b", join=pb.JOIN_ANY),
        step("d", each=[1, 2, 3], at_once=1),
        step("e", "a", "d", join=pb.JOIN_N_OF, join_count=1, on_failure=pb.ON_FAILURE_CONTINUE),
        open=True,
        max_parallel=2,
        timeout_ms=1_000_000,
        value={"x": 1},
    ),
    queues("a"),
    breaks("a", retryable=True),
    waits(1000),
    runs("a", 2),
    begins("d[0]"),
    adds(step("f", "a"), request_id="r1", digest=b"digest"),
    denies("b"),
    breaks("d[0]"),
    begins("e", "d[1]"),
)


def record(event, version):
    numbers = {"position": version + 10, "tenant_sequence": version, "stream_version": version, "recorded_at_us": 5}
    return encode_record(event, ENVELOPE, **numbers)


def records(events):
    return [record(event, version) for version, event in enumerate(events, 1)]


def live():
    return given(*HISTORY).run


def test_the_same_records_make_the_same_state():
    run = live()
    assert state_digest(rebuild(records(run.events), decode_record)) == state_digest(run.state)


def test_the_beginning_of_a_history_makes_the_state_of_that_time():
    events = live().events
    state = Workflow()
    for count, event in enumerate(events, 1):
        evolve(state, event)
        assert state_digest(rebuild(records(events[:count]), decode_record)) == state_digest(state)


def test_no_records_make_no_workflow():
    assert not rebuild([], decode_record).started


def test_a_state_can_go_on_after_it_was_rebuilt():
    run, again = live(), live()
    again.state = rebuild(records(run.events), decode_record)
    for one in (run, again):
        one.perform(cancels())
    assert again.events == run.events
    assert state_digest(again.state) == state_digest(run.state)


@pytest.mark.parametrize("dropped", range(len(live().events) - 1))
def test_a_missing_record_is_noticed(dropped):
    found = records(live().events)
    del found[dropped]
    with pytest.raises(RebuildError) as error:
        rebuild(found, decode_record)
    assert error.value.version == dropped + 1


def test_the_place_of_what_cannot_be_read_is_told():
    found = records(live().events)
    found[3] = b"\xff\xff"
    with pytest.raises(RebuildError, match="is no event") as error:
        rebuild(found, decode_record)
    assert error.value.version == 4


def test_an_event_that_does_not_fit_what_came_before_is_told():
    found = records(live().events)
    found.append(record(events_pb2.StepSucceeded(step_id="unknown"), len(found) + 1))
    with pytest.raises(RebuildError, match="step_succeeded does not fit") as error:
        rebuild(found, decode_record)
    assert error.value.version == len(found)


def test_an_event_of_another_kind_of_stream_is_told():
    with pytest.raises(RebuildError, match="tool_registered does not fit"):
        rebuild([record(events_pb2.ToolRegistered(version=1), 1)], decode_record)


@pytest.mark.parametrize("ignorable", [True, False])
def test_an_unknown_event_is_passed_over_only_where_it_says_so(ignorable):
    events = live().events
    unknown = events_pb2.Event(stream_version=2, type=9999, ignorable=ignorable).SerializeToString()
    found = [record(events[0], 1), unknown, *(record(event, version) for version, event in enumerate(events[1:], 3))]
    if ignorable:
        assert state_digest(rebuild(found, decode_record)) == state_digest(rebuild(records(events), decode_record))
    else:
        with pytest.raises(RebuildError, match="9999 is not known") as error:
            rebuild(found, decode_record)
        assert error.value.version == 2


def test_a_message_that_is_no_event_is_refused():
    with pytest.raises(KeyError):
        evolve(Workflow(), value_pb2.Value())


def touched():
    """Every field of the state with a value that differs from what a new one has."""
    run = live()
    return {
        **{name: getattr(run.state, name) for name in Workflow.__slots__},
        **{f"step.{name}": getattr(run.step("a"), name) for name in type(run.step("a")).__slots__},
    }


# Fields that no digest has to hold, each with what it follows from.
FOLLOWS = {
    "started": "the state",
    "dependents": "the definitions and the states of the steps",
    "to_settle": "the states of the steps, and empty between appends",
    "changed": "what the engine has looked at",
    "timers_armed": "the timers",
    "step.order": "the place in the list",
    "step.plan": "the definition and the authority, which are there",
    "step.parent": "the definition, which names it",
    "step.item": "the id",
    "step.items": "the steps after it",
    "step.item_texts": "the outputs",
    "timers": "its valid ones are there as wakes",
}


def test_every_field_of_the_state_is_in_its_canonical_form_or_follows_from_it():
    run = live()
    form = canonical(run.state)
    held = set(form) | {f"step.{name}" for name in form["steps"][0]}
    assert touched().keys() - held == FOLLOWS.keys()


def test_states_that_differ_in_one_event_have_different_digests():
    events = live().events
    digests = [state_digest(rebuild(records(events[:count]), decode_record)) for count in range(len(events) + 1)]
    facts = (events_pb2.PermissionChecked, events_pb2.InputRejected, events_pb2.AttemptAbandoned)
    for event, before, after in zip(events, digests, digests[1:], strict=False):
        assert (before == after) is isinstance(event, facts), type(event).__name__


def test_every_fold_is_of_an_event_of_the_contract():
    names = {field.message_type.name for field in events_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields}
    assert {message.DESCRIPTOR.name for message in FOLDS} == names - NOT_OF_A_WORKFLOW.keys()
