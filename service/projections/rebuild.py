"""Builds a projection anew beside the one that is read, and puts it in its place once it has caught up.

The log is read from the beginning in batches, each with its own checkpoint, so that a rebuild that was interrupted
goes on where it was. It only writes tables: nothing that the events once caused happens again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NamedTuple

from service.projections.generation import Generation, ProjectionError
from service.projections.read_model import LogWithHead
from service.projections.runner import ProjectionRunner, RunnerState
from store.contract import CorruptLogError

BATCH_EVENTS = 500
"""How many events are applied in one transaction: the live projection waits for no more than this."""

Spawn = Callable[[Coroutine[Any, Any, object]], None]
"""Runs a coroutine in the background."""

_logger = logging.getLogger(__name__)


class RebuildStoppedError(ProjectionError):
    """A rebuild has stopped before its end. What it built is kept; asked for again, it goes on where it was."""

    reason = "REBUILD_STOPPED"


class Progress(NamedTuple):
    """How far a rebuild has come."""

    position: int
    head: int
    is_done: bool
    """Whether the new tables are the ones that are read."""


class Rebuild:
    """One rebuild, for as long as it is under way. `run` is its work; any number may watch its progress."""

    def __init__(self, runner: ProjectionRunner, log: LogWithHead, spawn: Spawn) -> None:
        self._runner = runner
        self._model = runner.model
        self._log = log
        self._spawn = spawn
        self._generation: Generation[Any] | None = None
        self._is_done = False
        self._has_ended = False
        self._stopped = ""
        self._moved = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any more, so that another may begin."""
        return self._has_ended

    @property
    def position(self) -> int:
        """The position of the last event in the new tables."""
        return self._generation.position if self._generation else 0

    @property
    def problem(self) -> str:
        """What the database does not do; empty: nothing is wrong."""
        return self._generation.problem if self._generation else ""

    async def run(self) -> None:
        """Build and switch. What stops it is told to those who watch, and is not raised."""
        try:
            await self._build()
        except Exception as error:
            self._stopped = f"{type(error).__name__}: {error}"
            _logger.exception("the rebuild of projection %s has stopped at %d", self._runner.name, self.position)
        finally:
            if not self._is_done and not self._stopped:
                self._stopped = "the service stops"
            self._has_ended = True
            self._tell()

    async def progress(self) -> AsyncIterator[Progress]:
        """Tell how far it has come, now and whenever it has moved; who is slow hears of the last move alone.

        Raises:
            RebuildStoppedError: It has stopped before its end.
        """
        while self._is_done or not self._stopped:
            moved = self._moved
            told = Progress(self.position, self._log.head, self._is_done)
            yield told
            # It may have ended while that was read, and then this is yet to be told.
            if told.is_done:
                return
            await moved.wait()
        raise RebuildStoppedError(
            f"the rebuild of {self._runner.name} has stopped at {self.position}, and goes on there when it is asked "
            f"for again: {self._stopped}"
        )

    async def _build(self) -> None:
        generation = self._generation = await self._model.next_generation(self._log)
        _logger.info("the rebuild of projection %s begins after %d", self._runner.name, generation.position)
        while await self._apply_next(generation) == BATCH_EVENTS:
            pass
        async with self._model.turn:
            # While the turn is held the one that is read stands still, so that little is left, and it ends.
            while generation.position < max(self._model.served.position, generation.whole_at):
                if not await self._apply_next(generation):
                    raise CorruptLogError(f"the log ends at {generation.position}, before what was read from it")
            await self._model.switch_to(generation)
        self._is_done = True
        self._tell()
        _logger.info("projection %s is read from its new tables, from position %d on", self._runner.name, self.position)
        if self._runner.state is RunnerState.FAILED:
            self._spawn(self._runner.run())
        await self._model.drop_unserved()

    async def _apply_next(self, generation: Generation[Any]) -> int:
        events = await self._log.read_all(generation.position, BATCH_EVENTS)
        if events:
            await generation.apply(events)
            self._tell()
        return len(events)

    def _tell(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
