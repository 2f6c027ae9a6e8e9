"""A record is byte for byte what serialising the whole event would give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.v1 import events_pb2, value_pb2
from store.records import (
    HEAD_LENGTH,
    TYPE_NUMBERS,
    UnknownEventTypeError,
    decode_record,
    encode_envelope,
    encode_record,
    known_payload,
    names_after_head,
    numbers_of,
    principal_bytes,
    type_number,
)

PAYLOADS = [
    events_pb2.WorkflowSucceeded(),
    events_pb2.StepSkipped(step_id="step_1"),
    events_pb2.StepSucceeded(step_id="step_1", attempt=3, chunks_digest=b"x" * 300),
    events_pb2.PermissionChecked(step_id="a", principal=value_pb2.Principal(subject="alice")),
]
U32 = st.integers(1, 2**32 - 1)
U63 = st.integers(1, 2**63 - 1)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def record_of(payload, **envelope):
    constant = encode_envelope(shard=0, tenant="acme", stream_id="wf_1", **envelope)
    return encode_record(payload, constant, position=7, tenant_sequence=5, stream_version=3, recorded_at_us=11)


@given(st.sampled_from(PAYLOADS), NAMES, NAMES, NAMES, U63, U63, U32, U63, st.integers(0, 3))
def test_a_record_is_what_protobuf_would_write(  # noqa: PLR0917 -- one argument a field
    payload, tenant, stream_id, correlation_id, position, sequence, version, time, shard
):
    principal = value_pb2.Principal(subject="alice", agent="agent")
    envelope = encode_envelope(
        shard=shard, tenant=tenant, stream_id=stream_id, principal=principal, correlation_id=correlation_id
    )
    record = encode_record(
        payload, envelope, position=position, tenant_sequence=sequence, stream_version=version, recorded_at_us=time
    )
    whole = events_pb2.Event(
        position=position,
        tenant_sequence=sequence,
        stream_version=version,
        recorded_at_us=time,
        type=type_number(payload),
        shard=shard,
        tenant=tenant,
        stream_id=stream_id,
        principal=principal,
        correlation_id=correlation_id,
    )
    getattr(whole, whole.WhichOneof("payload") or payload_field(payload)).CopyFrom(payload)
    assert record == whole.SerializeToString(deterministic=True)
    assert decode_record(record) == whole
    assert numbers_of(record) == (position, sequence, version, time)
    names = names_after_head(type_number=type_number(payload), shard=shard, tenant=tenant, stream_id=stream_id)
    assert record.startswith(names, HEAD_LENGTH)


def payload_field(payload):
    number = type_number(payload)
    return next(name for name, other in TYPE_NUMBERS.items() if other == number)


def test_a_payload_comes_back():
    event = decode_record(record_of(events_pb2.StepSkipped(step_id="step_1")))
    assert known_payload(event) == events_pb2.StepSkipped(step_id="step_1")


def test_a_message_that_is_no_event_has_no_type():
    with pytest.raises(KeyError):
        type_number(value_pb2.Principal())


@pytest.mark.parametrize("record", [b"", b"short", b"x" * 100])
def test_bytes_that_are_no_record_have_no_numbers(record):
    with pytest.raises(ValueError, match="record"):
        numbers_of(record)


def test_an_unknown_type_is_an_error_unless_it_may_be_passed_over():
    unknown = events_pb2.Event(position=1, type=5_000)
    with pytest.raises(UnknownEventTypeError):
        known_payload(unknown)
    assert known_payload(events_pb2.Event(position=1, type=5_000, ignorable=True)) is None


@given(
    tenant=NAMES,
    stream_id=NAMES,
    subject=st.none() | NAMES,
    shard=st.sampled_from([0, 1, 300]),
    payload=st.sampled_from([events_pb2.WorkflowSucceeded(), events_pb2.StepSucceeded(step_id="Z\x0aZ")]),
)
def test_the_principal_is_read_without_the_rest(tenant, stream_id, subject, shard, payload):
    principal = None if subject is None else value_pb2.Principal(subject=subject, agent="a", address="192.0.2.7")
    envelope = encode_envelope(shard=shard, tenant=tenant, stream_id=stream_id, principal=principal, request_id="r")
    record = encode_record(payload, envelope, position=1, tenant_sequence=1, stream_version=1, recorded_at_us=1)
    assert principal_bytes(record) == (b"" if principal is None else principal.SerializeToString())


@pytest.mark.parametrize("fields", [{"schema_version": 3}, {"ignorable": True}, {"type": 4711}, {"tenant": ""}])
def test_the_principal_is_read_also_from_a_record_of_another_writer(fields):
    principal = value_pb2.Principal(subject="ana")
    usual = {"position": 1, "tenant_sequence": 1, "stream_version": 1, "recorded_at_us": 1, "type": 20, "tenant": "t"}
    for who in (principal, None):
        event = events_pb2.Event(**{**usual, **fields}, stream_id="s", principal=who)
        assert principal_bytes(event.SerializeToString()) == (b"" if who is None else who.SerializeToString())
