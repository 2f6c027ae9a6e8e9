"""Rebuilding a workflow's state from its records, with nothing but the fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from google.protobuf.message import DecodeError

from podium.v1 import events_pb2
from service.domain.evolve import evolve
from service.domain.state import Workflow


class RebuildError(ValueError):
    """The records do not make a workflow. `version` is the first that does not fit, from 1."""

    def __init__(self, version: int, message: str) -> None:
        super().__init__(message)
        self.version = version


def rebuild(records: Iterable[bytes], decode: Callable[[bytes], events_pb2.Event]) -> Workflow:
    """Fold records, the first with version 1, as `decode` reads them: in today's shape. Raises RebuildError."""
    state = Workflow()
    version = 0
    for version, record in enumerate(records, 1):
        try:
            event = decode(record)
        except DecodeError:
            raise RebuildError(version, "the record is no event") from None
        if event.stream_version != version:
            raise RebuildError(version, f"the record says that it is version {event.stream_version}")
        name = event.WhichOneof("payload")
        if name is None and event.ignorable:
            continue
        if name is None:
            raise RebuildError(version, f"the type {event.type} is not known")
        try:
            evolve(state, getattr(event, name))
        except (KeyError, ValueError, IndexError) as error:
            raise RebuildError(version, f"{name} does not fit what came before: {error}") from None
    # What only says what the engine still has to look at is used up in a live state and must not tell them apart.
    state.changed.clear()
    return state
