"""Reading workflows: never ahead of the log, and when asked for only once they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from service.domain.errors import NotFound, Unavailable
from service.engine.keys import WorkflowKey
from service.engine.residency import Residency
from service.engine.resident import Resident
from store.contract import EventStore

T = TypeVar("T")


class Reading:
    """Reads workflows that are in memory, and has the others loaded."""

    def __init__(self, store: EventStore, residency: Residency, load: Callable[[Resident], None]) -> None:
        self._store = store
        self._residency = residency
        self._load = load
        self._waits: set[asyncio.Future[bool | None]] = set()
        self._ended: Callable[[], Exception] | None = None

    async def read(self, key: WorkflowKey, reader: Callable[[Resident], T]) -> T:
        """Read a workflow's state as the log has it now. Raises NotFound; Unavailable: another may own the log."""
        if not self._store.is_current:
            raise _not_current()
        resident = self._residency.get(key)
        if resident is not None and resident.durable and resident.state.started:
            return reader(resident)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._wait_to_read(key, reader, future)
        return await future

    def _wait_to_read(self, key: WorkflowKey, reader: Callable[[Resident], T], future: asyncio.Future[T]) -> None:
        """Resolve the future with what the reader finds as soon as the workflow is durable.

        It reads then and there: by the time whoever waits runs again, the next turn may be ahead of the log.
        """
        resident = self._residency.get(key)
        if resident is None:
            resident = self._residency.add(key)
            self._load(resident)
        found = resident

        def resolve() -> None:
            if future.done():
                return
            if found.failed is not None:
                future.set_exception(found.failed)
            elif not self._store.is_current:
                future.set_exception(_not_current())
            elif found.dropped or not found.durable:
                self._wait_to_read(key, reader, future)
            elif not found.state.started:
                future.set_exception(not_found(key))
            else:
                _answer(future, reader, found)

        resident.readers.append(resolve)

    async def when_ended(self, key: WorkflowKey, reader: Callable[[Resident], T]) -> T:
        """Read a workflow's state once it has ended, durably. Raises NotFound; Unavailable, as `read` does."""
        while True:
            wait = _UntilEnded(reader)
            waited_at = await self.read(key, wait.look)
            self._waits.add(wait.future)
            if waited_at is not None and self._ended is not None:
                _end(wait.future, self._ended)
            try:
                if await wait.future is not None:
                    return wait.answer()
            finally:
                self._waits.discard(wait.future)
                # Who gave up must not keep the workflow in memory.
                if waited_at is not None and wait.settle in waited_at.waiters:
                    waited_at.waiters.remove(wait.settle)

    def end_waits(self, why: Callable[[], Exception]) -> None:
        """Let nobody wait for an end any more: who does or begins to is told why. Each gets an exception of its own."""
        self._ended = why
        for future in self._waits:
            _end(future, why)


def _end(future: asyncio.Future[bool | None], why: Callable[[], Exception]) -> None:
    if not future.done():
        future.set_exception(why())


class _UntilEnded(Generic[T]):
    """Waits for the end of one workflow, and reads it there and then: it may be forgotten right after."""

    def __init__(self, reader: Callable[[Resident], T]) -> None:
        self._reader = reader
        self._answer: list[T] = []
        self.future: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        """True once there is an answer; None: the workflow was dropped from memory and must be asked for again."""

    def look(self, resident: Resident) -> Resident | None:
        """Answer, or wait at the workflow; returns where it waits."""
        if resident.state.running:
            resident.waiters.append(self.settle)
            return resident
        self.settle(resident)
        return None

    def settle(self, resident: Resident) -> None:
        """The workflow has ended, or was dropped."""
        if self.future.done():
            return
        if resident.dropped:
            self.future.set_result(None)
            return
        try:
            self._answer.append(self._reader(resident))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever reads
            self.future.set_exception(error)
        else:
            self.future.set_result(True)

    def answer(self) -> T:
        """What was read."""
        return self._answer[0]


def _answer(future: asyncio.Future[T], reader: Callable[[Resident], T], found: Resident) -> None:
    try:
        future.set_result(reader(found))
    except Exception as error:  # noqa: BLE001 - it belongs to whoever reads
        future.set_exception(error)


def not_found(key: WorkflowKey) -> NotFound:
    """What is said of a workflow that the log does not know."""
    return NotFound("WORKFLOW_NOT_FOUND", f"there is no workflow {key.workflow_id}")


def _not_current() -> Unavailable:
    message = "the database has not confirmed for a while that this server owns the log: ask again"
    return Unavailable("LEASE_EXPIRED", message, retry_after_ms=1000)
