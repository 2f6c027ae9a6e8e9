"""Runs one projection: follows the log, applies each batch, and tells those who wait how far it has come.

A projection that cannot apply an event stops and says so; it never stops the service, and never goes on past the
event, because a trail with a hole in it is worse than one that is late. A database that is unavailable, its own or the
log's, does not stop it: it waits, and that it does is seen by its problem and its heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from enum import StrEnum
from typing import Any, Protocol

from service.projections.generation import (
    RETRY_FIRST_S,
    RETRY_LONGEST_S,
    ProjectionError,
    ProjectionFailedError,
)
from service.projections.read_model import LogWithHead, ReadModel
from store.contract import (
    Clock,
    CorruptLogError,
    CursorAheadError,
    RecordedEvent,
    StoreClosedError,
    StoreError,
    SubscriptionBatch,
)

GATHERING_S = 0.2
"""How long a projection that is up to date lets commits gather when no read waits for it."""
HEARTBEAT_S = 1.0
"""How often a projection that is up to date looks whether it still is."""

_logger = logging.getLogger(__name__)


class Log(LogWithHead, Protocol):
    """What a projection needs of the store."""

    def subscribe(self, after_position: int = 0, tenant: str | None = None) -> AsyncIterator[SubscriptionBatch]:
        """Deliver every event after a position once and in order."""


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
    """Keeps one read model up to date with the log."""

    def __init__(self, model: ReadModel[Any], log: Log, clock: Clock, *, gathering_s: float = GATHERING_S) -> None:
        self.model = model
        self._source = log
        self._clock = clock
        self._gathering_s = gathering_s
        self._state = RunnerState.CATCHING_UP
        self._problem = ""
        self._heartbeat_at_us = 0
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._wanted = asyncio.Event()

    @property
    def name(self) -> str:
        """The projection's name."""
        return self.model.name

    @property
    def state(self) -> RunnerState:
        """What it does now."""
        return self._state

    @property
    def problem(self) -> str:
        """Why it has stopped, or what it waits for; empty: it runs."""
        return self._problem or self.model.served.problem

    @property
    def position(self) -> int:
        """The position of the last event in the projection."""
        return self.model.served.position

    @property
    def lag(self) -> int:
        """How many events of the log are not in the projection yet."""
        return max(0, self._source.head - self.position)

    @property
    def heartbeat_at_us(self) -> int:
        """When it last applied a batch or found that there was none, microseconds since the Unix epoch; 0: never."""
        return self._heartbeat_at_us

    async def lag_us(self) -> int:
        """The age of the oldest event that is not in the projection, in microseconds; 0: all are."""
        missing = await self._source.read_all(self.position, limit=1) if self.lag else []
        return max(0, self._clock.now_us() - missing[0].recorded_at_us) if missing else 0

    async def open(self) -> None:
        """Make the tables ready to be read. Call before `run`. Raises DatabaseError."""
        await self.model.open(self._source)
        self._beat()

    async def run(self) -> None:
        """Follow the log until it closes. An error ends it with a log entry and the state FAILED, and is not raised.

        May be run again when it has failed and another generation is served.
        """
        self._state, self._problem = RunnerState.CATCHING_UP, ""
        async with asyncio.TaskGroup() as tasks:
            beats = tasks.create_task(self._beat_while_idle())
            await self._run()
            beats.cancel()

    async def wait_for(self, position: int, timeout_s: float) -> None:
        """Wait until everything up to `position` is in the projection, and it is fit to be read.

        Raises:
            ProjectionBehindError: It did not come so far within `timeout_s` seconds.
            ProjectionFailedError: It has stopped, whatever the position.
        """
        if self._state in (RunnerState.FAILED, RunnerState.STOPPED):
            raise self._stopped_error()
        position = max(position, self.model.served.whole_at)
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

    async def _run(self) -> None:
        try:
            await self._keep_following()
        except StoreClosedError:
            _logger.info("projection %s stops at position %d, because the log was closed", self.name, self.position)
        except Exception as error:
            self._problem = f"{type(error).__name__}: {error}"
            self._stop(RunnerState.FAILED)
            why = "projection %s has stopped after position %d, %s"
            _logger.exception(why, self.name, self.position, self._problem)
        finally:
            if self._state is not RunnerState.FAILED:
                self._stop(RunnerState.STOPPED)

    async def _keep_following(self) -> None:
        """Follow the log, again from where it is for as long as the log cannot be read."""
        delay_s = RETRY_FIRST_S
        while True:
            before = self.position
            try:
                return await self._follow()
            except (StoreClosedError, CorruptLogError, CursorAheadError):
                raise
            except StoreError as error:
                if not self._problem:
                    _logger.warning("projection %s waits for the log: %s", self.name, error)
                self._problem = str(error)
            delay_s = RETRY_FIRST_S if self.position > before else min(2 * delay_s, RETRY_LONGEST_S)
            await asyncio.sleep(delay_s)

    async def _follow(self) -> None:
        subscription = self._source.subscribe(after_position=self.position)
        try:
            async for batch in subscription:
                self._problem = ""
                await self._apply(batch.events)
                if batch.caught_up:
                    self._state = RunnerState.LIVE
                    await self._gather()
        finally:
            if isinstance(subscription, AsyncGenerator):
                await subscription.aclose()

    async def _apply(self, events: Sequence[RecordedEvent]) -> None:
        async with self.model.turn:
            try:
                # A generation that took the place of the one before may be ahead of it.
                reached = self.position
                if following := [event for event in events if event.position > reached]:
                    await self.model.served.apply(following)
            finally:
                self._tell()
        self._beat()

    def _tell(self) -> None:
        for reached, position in self._waiting.items():
            if position <= self.position and not reached.done():
                reached.set_result(None)

    async def _gather(self) -> None:
        """Let commits gather, unless a read waits: a transaction for every group commit costs more than its rows."""
        if self._waiting:
            return
        self._wanted.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._gathering_s):
                await self._wanted.wait()

    async def _beat_while_idle(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            # One that has something to do beats when it has done it.
            if self._state is RunnerState.LIVE and not self.lag:
                self._beat()

    def _beat(self) -> None:
        self._heartbeat_at_us = self._clock.now_us()

    def _stop(self, state: RunnerState) -> None:
        self._state = state
        for reached in self._waiting:
            if not reached.done():
                reached.set_exception(self._stopped_error())

    def _stopped_error(self) -> ProjectionFailedError:
        return ProjectionFailedError(f"the projection {self.name} has {self._state} at {self.position}")
