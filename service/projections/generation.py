"""One generation of a projection's tables, and the only way they are written.

Invariant: a batch's rows and its checkpoint commit in one transaction, and only if the checkpoint is where this
process left it. So whatever stops the process, and whoever else writes, every event is in the rows exactly once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from sqlalchemy import Connection, MetaData

from service.projections import checkpoints
from service.projections.checkpoints import CheckpointMovedError, Stored
from service.projections.database import DatabaseFencedError, DatabaseUnavailableError, ProjectionsDatabase, Result
from store.contract import CorruptLogError, RecordedEvent
from store.records import TYPE_NAMES, decode_record, known_payload

RETRY_FIRST_S = 0.05
RETRY_LONGEST_S = 5.0

_logger = logging.getLogger(__name__)


class Projection(Protocol):
    """A read model: the tables of one generation, and how events change them."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def schema_version(self) -> int:
        """Raised whenever its tables, or what it writes into them, change."""

    @property
    def metadata(self) -> MetaData:
        """The tables of its generation. All are called NAME_GENERATION, or this, an underscore and more."""

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Apply events in order, away from the loop. Types that are not known are ignorable."""


P = TypeVar("P", bound=Projection)


class ProjectionError(Exception):
    """A read model cannot answer. `reason` is stable, in upper snake case."""

    reason = "PROJECTION_ERROR"


class ProjectionFailedError(ProjectionError):
    """The projection has stopped, and is as old as when it did."""

    reason = "PROJECTION_FAILED"


class Generation(Generic[P]):
    """The tables of one generation, from where their checkpoint is."""

    def __init__(self, projection: P, stored: Stored, database: ProjectionsDatabase) -> None:
        self.projection = projection
        self.number = stored.generation
        self.whole_at = stored.whole_at
        """The position from which on the rows are fit to be read."""
        self.problem = ""
        """Why the database does not take what is written to it; empty: it does."""
        self._checkpoint = stored.checkpoint
        self._database = database

    @property
    def position(self) -> int:
        """The position of the last event in the tables."""
        return self._checkpoint.position

    async def apply(self, events: Sequence[RecordedEvent]) -> None:
        """Apply the events that follow. A database that is unavailable is tried again for as long as it takes.

        Raises:
            ProjectionFailedError: An event cannot be applied; the ones before it are.
            CorruptLogError: The events are not the ones that follow.
            CheckpointMovedError: Somebody else writes these tables.
            DatabaseFencedError: Another process has taken over.
        """
        expected = range(self.position + 1, self.position + 1 + len(events))
        if [event.position for event in events] != list(expected):
            raise CorruptLogError(f"the log delivered {[e.position for e in events[:3]]}... after {self.position}")
        try:
            await self._commit(events)
        except (CheckpointMovedError, DatabaseFencedError):
            raise
        except Exception as error:
            if len(events) == 1:
                # What the error says may quote the event; its kind does not.
                why = f"it cannot apply {_description(events[0])} ({type(error).__name__})"
                raise ProjectionFailedError(why) from error
            # Once more, one at a time: what came before the event at fault is kept, and the error names that event.
            for event in events:
                await self.apply([event])

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """Write, again for as long as the database is unavailable. `work` may have committed before it is repeated."""
        delay_s = RETRY_FIRST_S
        while True:
            try:
                result = await self._database.write(work)
            except DatabaseUnavailableError as error:
                if not self.problem:
                    _logger.warning("projection %s waits for its database: %s", self.projection.name, error)
                self.problem = str(error)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_LONGEST_S)
            else:
                self.problem = ""
                return result

    async def _commit(self, events: Sequence[RecordedEvent]) -> None:
        before, after = self._checkpoint, self._checkpoint.after(events, events[-1])
        name, number = self.projection.name, self.number
        is_in_doubt = False

        def apply(connection: Connection) -> None:
            nonlocal is_in_doubt
            if is_in_doubt and checkpoints.is_at(connection, name, number, after):
                return
            # Should this try seem to fail, it may have committed all the same.
            is_in_doubt = True
            checkpoints.move(connection, name, number, before, after)
            _refuse_unknown(events)
            self.projection.apply(connection, events)

        await self.write(apply)
        self._checkpoint = after


def _refuse_unknown(events: Sequence[RecordedEvent]) -> None:
    if {event.type for event in events} <= TYPE_NAMES.keys():
        return
    for event in events:
        if event.type not in TYPE_NAMES:
            known_payload(decode_record(event.record))


def _description(event: RecordedEvent) -> str:
    kind = TYPE_NAMES.get(event.type, f"type {event.type}")
    return f"event {event.position}, {kind} at {event.stream_version} of {event.stream_id}, tenant {event.tenant}"
