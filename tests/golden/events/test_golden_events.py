"""What was recorded once is read for ever: every event type has golden files, and a fold if it is a workflow's."""

import json

import pytest

from podium.v1 import events_pb2 as e
from service.domain import attempt_folds, step_folds, workflow_folds
from service.domain.evolve import FOLDS
from tests.golden.events.record_new import FOLDER, readable, record_new
from tests.golden.events.samples import NOT_OF_A_WORKFLOW, SAMPLES

PAYLOADS = e.Event.DESCRIPTOR.oneofs_by_name["payload"].fields
NEVER_RECORDED = {
    "podium.v1.StepDefinition.arguments_json": "parsed at submission",
    "podium.v1.ForEach.items_json": "parsed at submission",
    "podium.v1.ToolFallback.arguments_json": "parsed at submission",
    "podium.v1.Fallback.value_json": "recorded as a value",
}
GOLDEN = sorted(path.stem for path in FOLDER.glob("*.hex"))


def record(name):
    return bytes.fromhex((FOLDER / f"{name}.hex").read_text())


def text(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def without_golden(fields, names):
    """Event types of which no file tells how they were recorded."""
    recorded = {name.partition(".")[0] for name in names}
    return sorted(field.name for field in fields if field.name not in recorded)


def without_fold(fields, folds):
    """Event types that are neither folded nor known to be none of a workflow's."""
    folded = {message.DESCRIPTOR.full_name for message in folds}
    return sorted(
        field.message_type.name
        for field in fields
        if field.message_type.full_name not in folded and field.message_type.name not in NOT_OF_A_WORKFLOW
    )


def fields_of(descriptor, seen):
    """Every field that can be in a message, its submessages' included."""
    if descriptor.full_name in seen:
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield field.full_name
        if field.message_type is not None:
            yield from fields_of(field.message_type, seen)


def fields_set(message):
    """Every field that is set in a message, its submessages' included."""
    for field, value in message.ListFields():
        yield field.full_name
        if field.message_type is not None:
            for below in value if field.is_repeated else [value]:
                yield from fields_set(below)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_record_of_old_reads_as_it_did(name):
    assert readable(e.Event.FromString(record(name))) == text(name)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_record_of_old_says_what_it_is(name):
    event = e.Event.FromString(record(name))
    kind = event.WhichOneof("payload")
    assert kind == name.partition(".")[0]
    assert event.type == e.Event.DESCRIPTOR.fields_by_name[kind].number


@pytest.mark.parametrize("name", GOLDEN)
def test_a_record_of_old_is_written_the_same_today(name):
    assert e.Event.FromString(record(name)).SerializeToString(deterministic=True) == record(name)


def edited(records):
    """The records that are not what their samples were when they were recorded."""
    return [name for name, data in records.items() if SAMPLES[name].SerializeToString(deterministic=True) != data]


def test_every_record_has_its_text_and_its_sample():
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == GOLDEN == sorted(SAMPLES)
    assert edited({name: record(name) for name in GOLDEN}) == []


@pytest.mark.parametrize("name", GOLDEN)
def test_a_record_that_was_edited_is_found(name):
    data = bytearray(record(name))
    data[-1] ^= 1
    assert edited({name: bytes(data)}) == [name]


def test_every_event_has_its_record():
    assert without_golden(PAYLOADS, GOLDEN) == []


def test_every_event_of_a_workflow_has_its_fold():
    assert without_fold(PAYLOADS, FOLDS) == []
    assert not {message.DESCRIPTOR.name for message in FOLDS} & NOT_OF_A_WORKFLOW.keys()


def folded_twice(*tables):
    folded = [message for table in tables for message in table]
    return sorted({message.DESCRIPTOR.name for message in folded if folded.count(message) > 1})


def test_every_event_of_a_workflow_is_folded_in_one_place():
    assert folded_twice(workflow_folds.FOLDS, step_folds.FOLDS, attempt_folds.FOLDS) == []


def test_an_event_that_two_places_fold_is_found():
    assert folded_twice(workflow_folds.FOLDS, step_folds.FOLDS, {e.StepDenied: print}) == ["StepDenied"]


def test_every_field_is_in_some_record():
    recorded = {field for name in GOLDEN for field in fields_set(e.Event.FromString(record(name)))}
    assert set(fields_of(e.Event.DESCRIPTOR, set())) - recorded == NEVER_RECORDED.keys()


def test_an_event_without_record_or_fold_is_found():
    [lost] = (field for field in PAYLOADS if field.name == "step_queued")
    assert without_golden(PAYLOADS, [name for name in GOLDEN if name != lost.name]) == ["step_queued"]
    fewer = {message: fold for message, fold in FOLDS.items() if message is not e.StepQueued}
    assert without_fold(PAYLOADS, fewer) == ["StepQueued"]


def test_a_changed_meaning_is_found():
    event = e.Event.FromString(record("attempt_started"))
    swapped = e.AttemptStarted(step_id=event.attempt_started.executor, executor=event.attempt_started.step_id)
    event.attempt_started.MergeFrom(swapped)
    assert readable(event) != text("attempt_started")


def test_recording_leaves_what_is_there(tmp_path):
    few = dict(list(SAMPLES.items())[:2])
    first, second = few
    assert record_new({first: few[first]}, tmp_path) == [first]
    before = (tmp_path / f"{first}.hex").read_bytes()
    changed = e.Event(position=1)
    assert record_new({first: changed, second: few[second]}, tmp_path) == [second]
    assert (tmp_path / f"{first}.hex").read_bytes() == before
