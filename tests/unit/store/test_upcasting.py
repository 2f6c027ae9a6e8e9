"""Events of an earlier shape are read in today's, by everyone, and stay the bytes they were."""

import hashlib

import pytest

from podium.v1 import definition_pb2, event_service_pb2, events_pb2
from service.api import authentication
from service.api.event_servicer import EventServicer
from service.domain.rebuild import rebuild
from service.projections.audit_lines import line_of
from store import records, upcasting
from store.contract import SHARD, Append, NewEvent, StreamAppend
from store.records import HEAD_LENGTH, TYPE_NUMBERS, decode_record, encode_envelope, encode_record, names_after_head
from tests.architecture.checkout import ROOT
from tests.architecture.import_graph import sources
from tests.simulation.service_life import caller

STEP_SKIPPED = TYPE_NUMBERS["step_skipped"]
PLACE = {"shard": SHARD, "tenant": "acme", "stream_id": "wf_1"}
ENVELOPE = encode_envelope(**PLACE, request_id="request-1")
HISTORY = [
    events_pb2.WorkflowStarted(),
    events_pb2.StepsAdded(steps=[definition_pb2.StepDefinition(id="a", tool="work", tool_version=1)]),
    # As it was recorded when no reason meant: its condition was not met.
    events_pb2.StepSkipped(step_id="a"),
]


def say_why(event):
    event.step_skipped.reason = events_pb2.SKIP_REASON_CONDITION


@pytest.fixture
async def stored(log):
    """The history as it was recorded, before the shape changed."""
    await log.append(Append([StreamAppend("acme", "wf_1", 0, [NewEvent(payload, ENVELOPE) for payload in HISTORY])]))
    return await log.read_stream("acme", "wf_1")


@pytest.fixture
def lifted(monkeypatch):
    """Since then, a skipped step says why."""
    monkeypatch.setitem(upcasting.UPCASTS, (STEP_SKIPPED, 0), say_why)


def skip_reason(stored):
    return rebuild([event.record for event in stored], decode_record).steps["a"].skip_reason


async def test_a_fold_reads_todays_shape(stored, monkeypatch):
    assert skip_reason(stored) == events_pb2.SKIP_REASON_UNSPECIFIED
    monkeypatch.setitem(upcasting.UPCASTS, (STEP_SKIPPED, 0), say_why)
    assert skip_reason(stored) == events_pb2.SKIP_REASON_CONDITION


async def test_a_projection_reads_todays_shape(stored, lifted):
    assert "condition" in line_of(decode_record(stored[-1].record)).summary


async def test_a_reader_of_the_api_gets_todays_shape(log, stored, lifted):
    async def read():
        request = event_service_pb2.ReadStreamRequest(stream_id="wf_1")
        return [event async for frame in EventServicer(log).ReadStream(request, None) for event in frame.events]

    token = authentication._caller.set(caller("ana"))  # noqa: SLF001 - stands in for the interceptor
    try:
        *_, skipped = await read()
    finally:
        authentication._caller.reset(token)  # noqa: SLF001 - as above
    assert (skipped.step_skipped.reason, skipped.schema_version) == (events_pb2.SKIP_REASON_CONDITION, 1)


async def test_the_record_stays_what_was_written(log, stored, lifted):
    digests = [hashlib.sha256(event.record).digest() for event in stored]
    decode_record(stored[-1].record)
    again = await log.read_stream("acme", "wf_1")
    assert again == stored
    assert [hashlib.sha256(event.record).digest() for event in again] == digests


def test_an_event_is_lifted_from_version_to_version_and_no_further(monkeypatch):
    for version in (0, 1):
        monkeypatch.setitem(upcasting.UPCASTS, (STEP_SKIPPED, version), name_the_version)
    assert [lifted_name(version) for version in (0, 1, 2)] == ["a01", "a1", "a"]


def name_the_version(event):
    event.step_skipped.step_id += str(event.schema_version)


def lifted_name(version):
    skipped = events_pb2.StepSkipped(step_id="a")
    event = upcasting.upcast(events_pb2.Event(type=STEP_SKIPPED, schema_version=version, step_skipped=skipped))
    assert event.schema_version == 2
    return event.step_skipped.step_id


def recorded_now(payload):
    return encode_record(payload, ENVELOPE, position=7, tenant_sequence=5, stream_version=3, recorded_at_us=11)


def test_what_is_recorded_from_then_on_says_its_version_and_is_not_lifted(lifted, monkeypatch):
    skipped = events_pb2.StepSkipped(step_id="a", reason=events_pb2.SKIP_REASON_JOIN)
    monkeypatch.setitem(records._FRAMES, events_pb2.StepSkipped, records._frame(STEP_SKIPPED))  # noqa: SLF001 - made at import
    record = recorded_now(skipped)
    event = decode_record(record)
    assert (event.schema_version, event.step_skipped, event.request_id) == (1, skipped, "request-1")
    assert record.startswith(names_after_head(type_number=STEP_SKIPPED, **PLACE), HEAD_LENGTH)
    assert decode_record(recorded_now(events_pb2.WorkflowStarted())).schema_version == 0


def test_no_type_had_another_shape_yet():
    assert upcasting.UPCASTS == {}


def decoding_elsewhere(modules):
    """The modules that read records past the one place that lifts them."""
    return sorted(name for name, text in modules if "Event.FromString" in text and name != "store.records")


def test_records_are_decoded_in_one_place():
    assert decoding_elsewhere(sources(ROOT)) == []


def test_a_second_place_would_be_found():
    assert decoding_elsewhere([("service.x", "events_pb2.Event.FromString(record)")]) == ["service.x"]
