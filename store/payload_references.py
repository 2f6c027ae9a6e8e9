"""Which payloads an event names, wherever in it a value stands."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from podium.v1 import events_pb2, value_pb2

_REFERENCE = value_pb2.PayloadReference.DESCRIPTOR.full_name
# How a reference's digest begins: field 1, 32 bytes long.
_MARK = b"\x0a\x20"


def _reachable(root: Descriptor) -> dict[str, Descriptor]:
    found = {root.full_name: root}
    waiting = [root]
    while waiting:
        for field in waiting.pop().fields:
            below = field.message_type
            if below is not None and below.full_name not in found:
                found[below.full_name] = below
                waiting.append(below)
    return found


def _leading_to_references() -> frozenset[str]:
    messages = _reachable(events_pb2.Event.DESCRIPTOR)
    leading = {_REFERENCE}
    while True:
        more = {
            name
            for name, message in messages.items()
            if name not in leading
            and any(field.message_type and field.message_type.full_name in leading for field in message.fields)
        }
        if not more:
            return frozenset(leading)
        leading |= more


_LEADING = _leading_to_references()
"""The messages below which a reference can stand."""


def payload_references(event: events_pb2.Event, record: bytes) -> Iterator[value_pb2.PayloadReference]:
    """The references in an event, which is the record decoded."""
    if _MARK in record:
        yield from _below(event)


def _below(message: Message) -> Iterator[value_pb2.PayloadReference]:
    if isinstance(message, value_pb2.PayloadReference):
        yield message
        return
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is None or kind.full_name not in _LEADING:
            continue
        for part in value if field.is_repeated else (value,):
            yield from _below(part)
