"""Upcasting: an event that was recorded in an earlier shape is lifted to today's as it is read.

Only what was decoded changes. The record stays, byte for byte, what was written, and with it every digest and proof.
"""

from __future__ import annotations

from collections.abc import Callable

from podium.v1 import events_pb2

Lift = Callable[[events_pb2.Event], None]
"""Changes an event, in place, from the shape of one schema version to that of the next."""

UPCASTS: dict[tuple[int, int], Lift] = {}
"""(type, schema version) → what lifts an event of that type from that version. What is new is recorded in the version
after the last one here; an entry is never removed, because what it lifts is in somebody's log."""


def upcast(event: events_pb2.Event) -> events_pb2.Event:
    """Lift an event that was just decoded to today's shape."""
    while (lift := UPCASTS.get((event.type, event.schema_version))) is not None:
        lift(event)
        event.schema_version += 1
    return event


def version_written(type_number: int) -> int:
    """The schema version in which events of a type are recorded today."""
    return max((version + 1 for number, version in UPCASTS if number == type_number), default=0)
