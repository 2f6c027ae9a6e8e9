"""What goes first when there is too much."""

from __future__ import annotations

from typing import Literal, TypeAlias

from podium.errors import InvalidInput
from podium.v1 import definition_pb2

Priority: TypeAlias = Literal["low", "normal", "high"]

_PRIORITIES: dict[str | None, definition_pb2.Priority.ValueType] = {
    None: definition_pb2.PRIORITY_UNSPECIFIED,
    "low": definition_pb2.PRIORITY_LOW,
    "normal": definition_pb2.PRIORITY_NORMAL,
    "high": definition_pb2.PRIORITY_HIGH,
}


def priority_message(priority: Priority | None) -> definition_pb2.Priority.ValueType:
    """Returns the priority as the contract writes it; None: what the service takes for normal. Raises InvalidInput."""
    try:
        return _PRIORITIES[priority]
    except KeyError:
        raise InvalidInput(f"priority is low, normal or high, not {priority!r}", field="priority") from None
