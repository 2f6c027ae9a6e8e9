"""Runs one projection: follows the log, applies each batch, and tells those who wait how far it has come.

Invariant: a batch's rows and its checkpoint commit in one transaction, so whatever stops the process, every event is
in the rows exactly once. A projection that cannot apply an event stops and says so; it never stops the service, and
never goes on past the event, because a trail with a hole in it is worse than one that is late.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from enum import StrEnum
from typing import Protocol

from sqlalchemy import Connection

from service.projections import checkpoints
from service.projections.checkpoints import ORIGIN, Tables
from service.projections.database import ProjectionsDatabase
from store.contract import CorruptLogError, EventReader, RecordedEvent, StoreClosedError, SubscriptionBatch
from store.records import TYPE_NAMES, decode_record, known_payload

GATHERING_S = 0.1
"""How long a projection that is up to date lets commits gather when no read waits for it."""

_logger = logging.getLogger(__name__)


class Projection(Tables, Protocol):
    """A read model: tables, and how events change them."""

    def apply(self, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        """Apply events in order, on the writer's thread. Types that are not known are ignorable."""


class Log(EventReader, Protocol):
    """What a projection needs of the store."""

    @property
    def head(self) -> int:
        """The position of the last committed event; 0: none."""

    def subscribe(self, after_position: int = 0, tenant: str | None = None) -> AsyncIterator[SubscriptionBatch]:
        """Deliver every event after a position once and in order."""


class ProjectionError(Exception):
    """A read model cannot answer. `reason` is stable, in upper snake case."""

    reason = "PROJECTION_ERROR"


class ProjectionFailedError(ProjectionError):
    """The projection has stopped, and is as old as when it did."""

    reason = "PROJECTION_FAILED"


class ProjectionBehindError(ProjectionError):
    """The projection did not come so far in time."""

    reason = "PROJECTION_BEHIND"


class RunnerState(StrEnum):
    """What a runner does."""

    CATCHING_UP = "catching_up"
    """Reads what the log held before it started; the rows are older than that."""
    LIVE = "live"
    """Follows the log."""
    FAILED = "failed"
    """Stopped at an event it could not apply, or with the log it reads."""
    STOPPED = "stopped"
    """Was told to stop."""


class ProjectionRunner:
    """Keeps one projection up to date with the log."""

    def __init__(
        self, projection: Projection, database: ProjectionsDatabase, log: Log, *, gathering_s: float = GATHERING_S
    ) -> None:
        self._projection = projection
        self._database = database
        self._source = log
        self._gathering_s = gathering_s
        self._checkpoint = ORIGIN
        self._state = RunnerState.CATCHING_UP
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._wanted = asyncio.Event()

    @property
    def name(self) -> str:
        """The projection's name."""
        return self._projection.name

    @property
    def state(self) -> RunnerState:
        """What it does now."""
        return self._state

    @property
    def position(self) -> int:
        """The position of the last event in the projection."""
        return self._checkpoint.position

    @property
    def lag(self) -> int:
        """How many events of the log are not in the projection yet."""
        return max(0, self._source.head - self.position)

    async def open(self) -> None:
        """Make the tables ready to be read: as they were left, or empty when they do not fit. Call before `run`."""
        found = await self._database.write(lambda connection: checkpoints.load(connection, self._projection))
        if found is None:
            misfit = f"it has no tables of version {self._projection.schema_version}"
        else:
            misfit = await checkpoints.misfit(self._source, found)
        if misfit:
            _logger.info("projection %s is built from the beginning of the log: %s", self.name, misfit)
            await self._database.write(lambda connection: checkpoints.reset(connection, self._projection))
        self._checkpoint = ORIGIN if found is None or misfit else found

    async def run(self) -> None:
        """Follow the log until it closes. An error ends it with a log entry and the state FAILED, and is not raised."""
        try:
            await self._follow()
        except StoreClosedError:
            _logger.info("projection %s stops at position %d, because the log was closed", self.name, self.position)
        except Exception as error:
            self._stop(RunnerState.FAILED)
            why = f"{type(error).__name__}: {error}"
            _logger.exception("projection %s has stopped after position %d, %s", self.name, self.position, why)
        finally:
            if self._state is not RunnerState.FAILED:
                self._stop(RunnerState.STOPPED)

    async def wait_for(self, position: int, timeout_s: float) -> None:
        """Wait until everything up to `position` is in the projection. With 0 it only tells whether it runs.

        Raises:
            ProjectionBehindError: It did not come so far within `timeout_s` seconds.
            ProjectionFailedError: It has stopped, whatever the position.
        """
        if self._state in (RunnerState.FAILED, RunnerState.STOPPED):
            raise self._stopped_error()
        if position <= self.position:
            return
        reached = asyncio.get_running_loop().create_future()
        self._waiting[reached] = position
        self._wanted.set()
        try:
            async with asyncio.timeout(timeout_s):
                await reached
        except TimeoutError:
            behind = f"the projection {self.name} is at {self.position}, and not at {position} after {timeout_s} s"
            raise ProjectionBehindError(behind) from None
        finally:
            del self._waiting[reached]

    async def _follow(self) -> None:
        subscription = self._source.subscribe(after_position=self.position)
        try:
            async for batch in subscription:
                if batch.events:
                    self._check_order(batch.events)
                    await self._apply(batch.events)
                if batch.caught_up:
                    self._state = RunnerState.LIVE
                    await self._gather()
        finally:
            if isinstance(subscription, AsyncGenerator):
                await subscription.aclose()

    def _check_order(self, events: Sequence[RecordedEvent]) -> None:
        first = self.position + 1
        if any(event.position != expected for expected, event in enumerate(events, start=first)):
            raise CorruptLogError(f"the log delivered {[e.position for e in events[:3]]}... after {self.position}")

    async def _apply(self, events: Sequence[RecordedEvent]) -> None:
        try:
            await self._commit(events)
        except Exception as error:
            if len(events) == 1:
                raise ProjectionFailedError(f"it cannot apply {_description(events[0])}") from error
            # Once more, one at a time: what came before the event at fault is kept, and the error names that event.
            for event in events:
                await self._apply([event])

    async def _commit(self, events: Sequence[RecordedEvent]) -> None:
        checkpoint = self._checkpoint.after(events, events[-1])

        def apply(connection: Connection) -> None:
            _refuse_unknown(events)
            self._projection.apply(connection, events)
            checkpoints.move(connection, self._projection, checkpoint)

        await self._database.write(apply)
        self._checkpoint = checkpoint
        for reached, position in self._waiting.items():
            if position <= checkpoint.position and not reached.done():
                reached.set_result(None)

    async def _gather(self) -> None:
        """Let commits gather, unless a read waits: a transaction for every group commit costs more than its rows."""
        if self._waiting:
            return
        self._wanted.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._gathering_s):
                await self._wanted.wait()

    def _stop(self, state: RunnerState) -> None:
        self._state = state
        for reached in self._waiting:
            if not reached.done():
                reached.set_exception(self._stopped_error())

    def _stopped_error(self) -> ProjectionFailedError:
        return ProjectionFailedError(f"the projection {self.name} has {self._state} at {self.position}")


def _refuse_unknown(events: Sequence[RecordedEvent]) -> None:
    for event in events:
        if event.type not in TYPE_NAMES:
            known_payload(decode_record(event.record))


def _description(event: RecordedEvent) -> str:
    kind = TYPE_NAMES.get(event.type, f"type {event.type}")
    return f"event {event.position}, {kind} at {event.stream_version} of {event.stream_id}, tenant {event.tenant}"
