"""The group commit: one task a shard takes what has queued, orders it, and has it committed in one transaction.

Nothing is acknowledged before it is durable, and nothing that was submitted can be taken back. When the backend
fails, it is unknown what of the group is durable: the group and all that waits is answered with an error, and the
writer takes nothing more until the store was opened again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from store.backend import Backend, OnPoint
from store.contract import (
    Clock,
    InvalidAppendError,
    OutcomeUnknownError,
    OwnershipLostError,
    QueueFullError,
    RecordedEvent,
    StoreClosedError,
    StoreError,
)
from store.limits import StoreLimits
from store.sequencer import Group, Sequencer
from store.units import Unit, unstorable_in

OnGroup = Callable[[Sequence[RecordedEvent]], None]
"""Called on the loop with what a group commit made durable, before the callbacks of its appends."""


_FEW = 8
"""So many units, or fewer, are not worth a wait."""


class GroupCommitWriter:
    """Makes units durable, in the order of `submit`."""

    def __init__(
        self,
        backend: Backend,
        sequencer: Sequencer,
        clock: Clock,
        limits: StoreLimits,
        on_group: OnGroup,
        on_failed: Callable[[StoreError], None],
        on_point: OnPoint | None = None,
    ) -> None:
        self._backend = backend
        self._sequencer = sequencer
        self._clock = clock
        self._limits = limits
        self._on_group = on_group
        self._on_failed = on_failed
        self._on_point = on_point
        self.coming: Callable[[], int] = lambda: 0
        """How many appends are likely within a moment; one that is queued counts until it is acknowledged."""
        self.measured: Callable[[int, float], None] | None = None
        """Told of each group commit: its events, and for how many seconds the backend was at it."""
        self._queue: deque[Unit] = deque()
        self._queued_bytes = 0
        self._in_flight: Sequence[Unit] = ()
        self._wakeup = asyncio.Event()
        self._failure: StoreError | None = None
        self._ended: StoreError | None = None
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        # Not in a TaskGroup: the writer outlives whoever opened the store, and nobody's failure may cancel it.
        self._task = self._loop.create_task(self._run(), name="group-commit-writer")

    @property
    def waiting(self) -> int:
        """How many units wait."""
        return len(self._queue)

    @property
    def fill(self) -> float:
        """How full the queue is: 0 empty, 1 full."""
        limits = self._limits
        return max(len(self._queue) / limits.queue_length, self._queued_bytes / limits.queue_bytes)

    def submit(self, unit: Unit) -> None:
        """Queue a unit. Its `done` is called on the loop later, never from here."""
        if self._failure is not None or self._stopping:
            self._loop.call_soon(unit.done, self._refusal())
        elif len(self._queue) >= self._limits.queue_length or self._queued_bytes > self._limits.queue_bytes:
            self._loop.call_soon(unit.done, QueueFullError("the writer has as much to do as it can hold"))
        else:
            self._queue.append(unit)
            self._queued_bytes += unit.data_bytes
            self._wakeup.set()

    def end(self, reason: StoreError) -> None:
        """Take nothing more, because somebody else owns the shard. A commit under way still has its own outcome."""
        self._ended = reason
        self._wakeup.set()

    async def stop(self) -> None:
        """Commit what was submitted, then end."""
        self._stopping = True
        self._wakeup.set()
        # A caller that is cancelled while it waits must not cancel the writer.
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while await self._has_work():
                self._in_flight = self._take()
                await self._record(self._in_flight)
        except asyncio.CancelledError:
            self._fail(StoreClosedError("the event loop ended before the store was closed"))
            raise
        except Exception as error:  # noqa: BLE001 - it ends here, and everyone is told
            # Whatever it was, the group's outcome is unknown, so nothing may be built on what memory says.
            self._fail(error)

    async def _has_work(self) -> bool:
        """Wait until something is queued, and a little for what is on its way; false when nothing will be."""
        while self._ended is None and not self._queue:
            if self._stopping:
                return False
            self._wakeup.clear()
            await self._wakeup.wait()
        # A group costs as much as many of its units. Where few work at a time nobody waits: all would be delayed.
        if self._may_linger() and self.coming() > max(len(self._queue), _FEW):
            await asyncio.sleep(self._limits.linger_s)
        if self._ended is not None:
            raise self._ended
        return True

    def _may_linger(self) -> bool:
        # Not when what waits may fill the queue meanwhile: what comes then would be refused.
        return not self._stopping and 2 * len(self._queue) < self._limits.queue_length

    def _take(self) -> list[Unit]:
        """As much of what is queued as a group may hold, and at least one unit."""
        queue, limits = self._queue, self._limits
        units: list[Unit] = []
        events = data_bytes = 0
        while queue:
            unit = queue[0]
            events += unit.event_count
            data_bytes += unit.data_bytes
            if units and (events > limits.group_events or data_bytes > limits.group_bytes):
                break
            units.append(queue.popleft())
            self._queued_bytes -= unit.data_bytes
        return units

    async def _record(self, units: Sequence[Unit]) -> None:
        try:
            cold = self._sequencer.cold(units)
        except InvalidAppendError:
            self._in_flight = units = self._without_unstorable(units)
            cold = self._sequencer.cold(units)
        if cold is not None:
            self._sequencer.learn(cold, await self._backend.look_up(cold))
        group = self._sequencer.sequence(units, self._clock.now_us())
        await self._commit(group)

    def _without_unstorable(self, units: Sequence[Unit]) -> list[Unit]:
        """Refuse alone what would take its whole group with it, and return the others."""
        fit: list[Unit] = []
        for unit in units:
            if what := unstorable_in(unit):
                self._loop.call_soon(unit.done, InvalidAppendError(f"{what} cannot be stored"))
            else:
                fit.append(unit)
        return fit

    async def _commit(self, group: Group) -> None:
        if group.batch:
            self._pass("committing")
            began = self._loop.time()
            await self._backend.commit(group.batch)
            self._pass("committed")
            if self.measured is not None:
                self.measured(len(group.events), self._loop.time() - began)
        self._acknowledge(group)
        self._pass("acknowledged")

    def _acknowledge(self, group: Group) -> None:
        self._in_flight = ()
        if group.events:
            self._on_group(group.events)
        for done, outcome in group.answers:
            try:
                done(outcome)
            except Exception as error:  # noqa: BLE001 - it is reported
                # A callback that raises has a bug, which is not the next one's.
                self._report(error)

    def _pass(self, point: str) -> None:
        if self._on_point is not None:
            self._on_point(point)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, StoreError):
            self._failure = error
        else:
            self._failure = StoreClosedError(f"the store failed and must be opened again: {error}")
            self._failure.__cause__ = error
        answers = [(unit, self._unknown()) for unit in self._in_flight]
        answers += [(unit, self._refusal()) for unit in self._queue]
        self._queue.clear()
        for unit, answer in answers:
            try:
                unit.done(answer)
            except Exception as bug:  # noqa: BLE001 - it is reported
                self._report(bug)
        self._on_failed(self._failure)

    def _refusal(self) -> StoreError:
        # One for each: an exception that is raised in many tasks collects the traceback of all.
        if isinstance(self._failure, OwnershipLostError):
            refusal: StoreError = OwnershipLostError(str(self._failure))
        else:
            refusal = StoreClosedError(str(self._failure or "the store is closed"))
        refusal.__cause__ = self._failure
        return refusal

    def _unknown(self) -> StoreError:
        # What was in flight when the database went away; what waited behind it was never sent.
        if not isinstance(self._failure, OutcomeUnknownError):
            return self._refusal()
        unknown = OutcomeUnknownError(str(self._failure))
        unknown.__cause__ = self._failure
        return unknown

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "a callback of the store raised", "exception": error})
