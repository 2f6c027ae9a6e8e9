"""Checks on what was read: nothing is missing, and every record says the same as its columns.

A reader that skipped a lost event would fold a state that never was, so a contradiction stops it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from store.contract import CorruptLogError, RecordedEvent
from store.records import HEAD_LENGTH, Numbers, names_after_head, numbers_of


def verify_stream(events: Sequence[RecordedEvent], shard: int, after_version: int) -> None:
    """Raise CorruptLogError unless these are the events of a stream after a version, without a gap."""
    for expected, (event, _) in enumerate(_verified(events, shard), after_version + 1):
        if event.stream_version != expected:
            raise CorruptLogError(
                f"stream {event.stream_id}: version {expected} is missing before position {event.position}"
            )


def verify_log(events: Sequence[RecordedEvent], shard: int, after_position: int) -> None:
    """Raise CorruptLogError unless these are the events after a position, without a gap."""
    for expected, (event, _) in enumerate(_verified(events, shard), after_position + 1):
        if event.position != expected:
            raise CorruptLogError(f"position {expected} of shard {shard} is missing before {event.position}")


def verify_tenant(events: Sequence[RecordedEvent], shard: int) -> None:
    """Raise CorruptLogError unless these are events of one tenant that follow each other without a gap."""
    previous = 0
    for event, numbers in _verified(events, shard):
        if previous and numbers.tenant_sequence != previous + 1:
            raise CorruptLogError(
                f"event {previous + 1} of tenant {event.tenant} is missing before position {event.position}"
            )
        previous = numbers.tenant_sequence


def _verified(events: Iterable[RecordedEvent], shard: int) -> Iterator[tuple[RecordedEvent, Numbers]]:
    names: dict[tuple[int, str, str], bytes] = {}
    for event in events:
        position, tenant, stream_id, stream_version, number, recorded_at_us, record = event
        name = names.get((number, tenant, stream_id))
        if name is None:
            name = names_after_head(type_number=number, shard=shard, tenant=tenant, stream_id=stream_id)
            names[number, tenant, stream_id] = name
        try:
            numbers = numbers_of(record)
        except ValueError as error:
            raise CorruptLogError(f"position {position} of shard {shard}: {error}") from error
        if (
            numbers.position != position
            or numbers.stream_version != stream_version
            or numbers.recorded_at_us != recorded_at_us
            or not record.startswith(name, HEAD_LENGTH)
        ):
            raise CorruptLogError(f"the record at position {position} of shard {shard} contradicts its columns")
        yield event, numbers
