"""The record: how an event becomes the bytes that are stored, and back.

A record is the concatenation of three parts, which protobuf defines as the merge of the messages: what differs
from event to event, the envelope that a command's events share, and the payload. The field numbers of the three
parts ascend, so the result is byte for byte what serialising the whole Event would give (a test holds them equal). Only
the schema version of a type that had another shape before stands out of its order, before the payload. The first part
is the event's place in the log, its head; the others are known before that, and encoded while the writer is busy.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from podium.v1 import events_pb2, value_pb2
from store.upcasting import UPCASTS, upcast, version_written

_HEAD = struct.Struct("<BQBQBIBq")
HEAD_LENGTH = _HEAD.size
"""Bytes of the part of a record that differs from event to event."""
# Tags of fields 1 to 4: three fixed64 (wire type 1) around one fixed32 (wire type 5).
_TAGS = _P, _T, _V, _R = (1 << 3 | 1, 2 << 3 | 1, 3 << 3 | 5, 4 << 3 | 1)
_TYPE_TAG = 5 << 3
_VERSION_TAG = 9 << 3
# Tags of fields whose length stands behind them.
_TENANT_TAG, _STREAM_TAG, _PRINCIPAL_TAG = 7 << 3 | 2, 8 << 3 | 2, 11 << 3 | 2
_CONTINUED = 1 << 7

_parse = events_pb2.Event.FromString
_PAYLOADS = events_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields
TYPE_NAMES: dict[int, str] = {f.number: f.name for f in _PAYLOADS}
"""The name of each event type, by its number."""
TYPE_NUMBERS: dict[str, int] = {f.name: f.number for f in _PAYLOADS}
"""The number of each event type, by its name."""
# By class: the full name of a descriptor is made anew whenever it is asked for.
_NUMBERS: dict[type[Message], int] = {GetMessageClass(f.message_type): f.number for f in _PAYLOADS if f.message_type}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 1 << 7:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT_BYTES = 256


class _Frame(NamedTuple):
    """What stands around the envelope and the payload of an event of one type."""

    number: int
    type_field: bytes
    payload_tag: bytes
    short: list[bytes]
    """The tag and the length, of a payload of so many bytes: nearly all are short."""


def _frame(number: int) -> _Frame:
    version = version_written(number)
    schema_version = bytes([_VERSION_TAG]) + _varint(version) if version else b""
    tag = schema_version + _varint(number << 3 | 2)
    return _Frame(
        number, bytes([_TYPE_TAG]) + _varint(number), tag, [tag + _varint(length) for length in range(_SHORT_BYTES)]
    )


_FRAMES: dict[type[Message], _Frame] = {message: _frame(n) for message, n in _NUMBERS.items()}


def encode_envelope(
    *,
    shard: int,
    tenant: str,
    stream_id: str,
    principal: value_pb2.Principal | None = None,
    correlation_id: str = "",
    causation_position: int = 0,
    trace_context: str = "",
    request_id: str = "",
) -> bytes:
    """Encode the part of the envelope that is the same for all events of a command in a stream."""
    event = events_pb2.Event(
        shard=shard,
        tenant=tenant,
        stream_id=stream_id,
        correlation_id=correlation_id,
        causation_position=causation_position,
        trace_context=trace_context,
        request_id=request_id,
    )
    if principal is not None:
        event.principal.CopyFrom(principal)
    return event.SerializeToString(deterministic=True)


def type_number(payload: Message) -> int:
    """The number of the payload's type. Raises KeyError for a message that is no event."""
    return _NUMBERS[type(payload)]


def encode_rest(payload: Message, envelope: bytes) -> tuple[int, bytes]:
    """The number of the payload's type, and what follows the head of the event's record.

    Raises KeyError for a message that is no event, and whatever protobuf raises for one that cannot be encoded.
    """
    number, type_field, payload_tag, short = _FRAMES[type(payload)]
    body = payload.SerializeToString()
    length = len(body)
    before = short[length] if length < _SHORT_BYTES else payload_tag + _varint(length)
    return number, b"".join((type_field, envelope, before, body))


def encode_head(position: int, tenant_sequence: int, stream_version: int, recorded_at_us: int) -> bytes:
    """The first part of a record: the place of an event in the log."""
    return _HEAD.pack(_P, position, _T, tenant_sequence, _V, stream_version, _R, recorded_at_us)


def encode_record(
    payload: Message,
    envelope: bytes,
    *,
    position: int,
    tenant_sequence: int,
    stream_version: int,
    recorded_at_us: int,
) -> bytes:
    """Encode a record; see the module's description."""
    _, rest = encode_rest(payload, envelope)
    return encode_head(position, tenant_sequence, stream_version, recorded_at_us) + rest


class Numbers(NamedTuple):
    """What the head of a record says."""

    position: int
    tenant_sequence: int
    stream_version: int
    recorded_at_us: int


def numbers_of(record: bytes) -> Numbers:
    """Read the head of a record without decoding the rest. Raises ValueError for bytes that are no record."""
    try:
        p, position, t, tenant_sequence, v, stream_version, r, recorded_at_us = _HEAD.unpack_from(record)
    except (struct.error, TypeError) as error:
        # SQLite gives text for a column of bytes in which somebody has put text.
        raise ValueError(f"{len(record)} bytes are no record") from error
    if (p, t, v, r) != _TAGS:
        raise ValueError("the bytes do not begin as a record does")
    return Numbers(position, tenant_sequence, stream_version, recorded_at_us)


def names_after_head(*, type_number: int, shard: int, tenant: str, stream_id: str) -> bytes:
    """The bytes that must follow the head of a record, which is HEAD_LENGTH bytes long."""
    return bytes([_TYPE_TAG]) + _varint(type_number) + encode_envelope(shard=shard, tenant=tenant, stream_id=stream_id)


def principal_bytes(record: bytes) -> bytes:
    """The bytes of a record's principal, in nearly all records without decoding the rest; empty: it has none.

    Raises google.protobuf.message.DecodeError for bytes that are no record.
    """
    if _PRINCIPAL_TAG not in record:
        return b""
    try:
        # Behind the head are the type in one byte, tenant and stream, and then the principal if there is one.
        type_byte, tenant_length = record[HEAD_LENGTH + 1], record[HEAD_LENGTH + 3]
        stream_at = HEAD_LENGTH + 4 + tenant_length
        stream_length = record[stream_at + 1]
        at = stream_at + 2 + stream_length
        tag, length = record[at], record[at + 1]
        if (
            record[HEAD_LENGTH + 2] == _TENANT_TAG
            and record[stream_at] == _STREAM_TAG
            and type_byte | tenant_length | stream_length < _CONTINUED
            and (tag > _PRINCIPAL_TAG or (tag == _PRINCIPAL_TAG and length < _CONTINUED))
        ):
            return record[at + 2 : at + 2 + length] if tag == _PRINCIPAL_TAG else b""
    except IndexError:
        pass
    return decode_record(record).principal.SerializeToString()


def decode_record(record: bytes) -> events_pb2.Event:
    """Decode a record and lift it to today's shape, as everyone does who reads an event.

    Raises google.protobuf.message.DecodeError for bytes that are none.
    """
    event = _parse(record)
    # A replay decodes little else than records of today's shape, so not even the look is free.
    return upcast(event) if UPCASTS else event


class UnknownEventTypeError(Exception):
    """The log holds a type this version does not know and may not pass over."""

    def __init__(self, event: events_pb2.Event) -> None:
        super().__init__(
            f"event {event.shard}:{event.position} has type {event.type}, which this version does not know: "
            "run a version at least as new as the one that wrote it"
        )


def known_payload(event: events_pb2.Event) -> Message | None:
    """The payload, or None when the type is unknown and ignorable. Raises UnknownEventTypeError otherwise."""
    name = event.WhichOneof("payload")
    if name is not None:
        payload: Message = getattr(event, name)
        return payload
    if not event.ignorable:
        raise UnknownEventTypeError(event)
    return None
