"""Checks on what was read: nothing is missing, and every record says the same as its columns.

A reader that skipped a lost event would fold a state that never was, so a contradiction stops it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from store.contract import CorruptLogError, RecordedEvent
from store.records import HEAD_LENGTH, Numbers, names_after_head, numbers_of


class LogExtent(NamedTuple):
    """How far the log and what is derived from it go, at one moment."""

    head: int
    first_position: int
    """Of the events that are stored. 1, unless somebody has added one where none can be."""
    last_position: int
    """Of the events that are stored. The head, unless somebody has changed either."""
    tile_count: int
    """How many tiles of level 0 there are."""
    checkpoint_size: int
    """The largest size that is signed for; 0: none."""
    sequences: Mapping[str, int]
    """The tenant_sequence of each tenant's last event, by its name."""


def verify_stream(events: Sequence[RecordedEvent], shard: int, after_version: int) -> None:
    """Raise CorruptLogError unless these are the events of a stream after a version, without a gap."""
    previous = 0
    for expected, (event, _) in enumerate(_verified(events, shard), after_version + 1):
        if event.stream_version != expected:
            raise CorruptLogError(
                f"stream {event.stream_id}: version {expected} is missing before position {event.position}"
            )
        if event.position <= previous:
            raise CorruptLogError(
                f"stream {event.stream_id}: version {expected} stands at position {event.position}, "
                f"not behind position {previous}"
            )
        previous = event.position


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


def checked_numbers(event: RecordedEvent, shard: int, names: dict[tuple[int, str, str], bytes]) -> Numbers:
    """What the head of an event's record says. Raises CorruptLogError when the record contradicts its columns.

    `names` keeps what was encoded to compare with; it is filled here.
    """
    position, tenant, stream_id, stream_version, number, recorded_at_us, record = event
    try:
        name = names.get((number, tenant, stream_id))
        if name is None:
            name = names_after_head(type_number=number, shard=shard, tenant=tenant, stream_id=stream_id)
            names[number, tenant, stream_id] = name
        numbers = numbers_of(record)
    except (ValueError, TypeError) as error:
        raise CorruptLogError(f"position {position} of shard {shard}: {error}") from error
    if (
        numbers.position != position
        or numbers.stream_version != stream_version
        or numbers.recorded_at_us != recorded_at_us
        or not record.startswith(name, HEAD_LENGTH)
    ):
        raise CorruptLogError(f"the record at position {position} of shard {shard} contradicts its columns")
    return numbers


def _verified(events: Iterable[RecordedEvent], shard: int) -> Iterator[tuple[RecordedEvent, Numbers]]:
    names: dict[tuple[int, str, str], bytes] = {}
    for event in events:
        yield event, checked_numbers(event, shard, names)
