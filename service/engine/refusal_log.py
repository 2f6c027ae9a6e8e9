"""The log of refused requests: the first of a kind at once, and what follows counted, so that denial fills no disk.

Invariant: what a record says is true of each refusal that it counts. A kind is therefore the whole record, but for
the method of a failed authentication, which is the last one. A kind's window stays open for as long as it goes on, and
costs one event each time it is over. A caller has so many kinds at once, and whatever is beyond them shares one for
each type of event and reason that names the caller alone. So has a tenant, and what is beyond those shares one that
names nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from podium.v1 import events_pb2, value_pb2
from service.engine.journal import Journal
from service.engine.timers import Clock, Timers
from store.contract import SHARD, StoreError

logger = logging.getLogger(__name__)

STREAM_ID = "requests"
WINDOW_US = 10_000_000
KINDS_MAX = 128
"""Kinds a tenant may have open at once."""
CALLER_KINDS_MAX = 32
"""Of those, kinds that one caller may have open: nobody hides what others are refused behind requests without end."""
WAIT_S = 2.0
"""How long a refused caller waits until that is durable. When the log cannot be written, it is refused all the same."""
FLUSH_S = 5.0

RefusalEvent = events_pb2.AuthenticationFailed | events_pb2.RequestDenied | events_pb2.SubmissionRefused


class Refusal(NamedTuple):
    """A refused request, for the log of a tenant."""

    tenant: str
    event: RefusalEvent
    """Its record, all but the count and the time."""

    @property
    def kind(self) -> tuple[str, bytes]:
        """What it is counted by: all that its record says."""
        event = self.event
        if isinstance(event, events_pb2.AuthenticationFailed):
            # Who is not known is not told apart by what was tried.
            event = events_pb2.AuthenticationFailed(reason=event.reason, address=event.address)
        return type(event).__name__, event.SerializeToString(deterministic=True)

    @property
    def caller(self) -> str:
        """Whose it is: the subject, or the address where that is all that is known."""
        if isinstance(self.event, events_pb2.AuthenticationFailed):
            return self.event.address
        return self.event.principal.subject or self.event.principal.address

    @property
    def names_caller(self) -> bool:
        """Whether it is known who was refused."""
        return not isinstance(self.event, events_pb2.AuthenticationFailed) and bool(self.event.principal.subject)

    def of_caller(self) -> Refusal:
        """What is left when its caller has too many kinds: the type, the reason and the caller."""
        event = self.without_names().event
        if isinstance(event, events_pb2.AuthenticationFailed):
            event.address = self.caller
        elif self.names_caller:
            event.principal.CopyFrom(value_pb2.Principal(subject=self.caller))
        else:
            event.principal.CopyFrom(value_pb2.Principal(address=self.caller))
        return Refusal(self.tenant, event)

    def without_names(self) -> Refusal:
        """What is left when there are too many kinds: the type and the reason."""
        return Refusal(self.tenant, type(self.event)(reason=self.event.reason))


_Place = tuple[str, tuple[str, bytes]]
_Bound = tuple[str, ...]
"""A tenant, or a tenant and a caller: who has so many kinds at once."""


class _Window:
    """Refusals of one kind."""

    def __init__(self, bounds: tuple[_Bound, ...]) -> None:
        self.bounds = bounds
        """What it takes room of."""
        self.count = 0
        self.first_at_us = 0
        self.latest: RefusalEvent | None = None
        self.recorded = asyncio.Event()
        """Nothing is on its way to the log; what was is recorded, or counted again."""
        self.event = ""

    def add(self, event: RefusalEvent, now_us: int) -> None:
        """One more, to be recorded later."""
        if not self.count:
            self.first_at_us = now_us
        self.count += 1
        self.latest = event

    def give_back(self, event: RefusalEvent) -> None:
        """Count again what could not be recorded."""
        self.first_at_us = event.first_at_us
        self.count += event.count
        self.latest = self.latest or event

    def take(self) -> RefusalEvent | None:
        """The record of those that were counted, of whom the last gives the names; None: there were none."""
        if self.latest is None:
            return None
        event = type(self.latest)()
        event.CopyFrom(self.latest)  # type: ignore[arg-type]  # both are of the same class of the union
        event.count, event.first_at_us = self.count, self.first_at_us
        self.count, self.latest = 0, None
        return event


class RefusalLog:
    """Records refusals in the stream `requests` of their tenants."""

    def __init__(self, journal: Journal, clock: Clock, spawn: Callable[[Coroutine[Any, Any, object]], None]) -> None:
        self._journal = journal
        self._clock = clock
        self._spawn = spawn
        self._windows: dict[_Place, _Window] = {}
        self._kinds: Counter[_Bound] = Counter()
        self._ends: Timers[_Place] = Timers(clock, self._window_over)

    async def record(self, refusal: Refusal) -> str:
        """Record a refusal, or count it. Returns the event that holds the first of its kind; empty: not known yet."""
        recorded_as, bounds = self._recorded_as(refusal)
        place = (refusal.tenant, recorded_as.kind)
        window = self._windows.get(place)
        if window is not None:
            window.add(recorded_as.event, self._now())
            return window.event
        window = self._open(place, bounds)
        window.add(recorded_as.event, self._now())
        self._spawn(self._write(place, window))
        try:
            async with asyncio.timeout(WAIT_S):
                await window.recorded.wait()
        except TimeoutError:
            logger.warning("a refusal of %s is not durable yet: the log does not answer", refusal.tenant)
        return window.event

    async def flush(self) -> None:
        """Record what was counted and is not recorded yet, within a bounded time."""
        self._ends.close()
        windows = list(self._windows.items())
        try:
            async with asyncio.timeout(FLUSH_S):
                await asyncio.gather(*(self._write(place, window) for place, window in windows))
                # What was on its way before is awaited as well.
                await asyncio.gather(*(window.recorded.wait() for _, window in windows))
        except TimeoutError:
            logger.warning("refusals that were counted could not be recorded: the log does not answer")

    def _now(self) -> int:
        return self._clock.now_us()

    def _recorded_as(self, refusal: Refusal) -> tuple[Refusal, tuple[_Bound, ...]]:
        """The record for which there is room, as exact as can be, and what its window would take room of."""
        of_tenant, of_caller = (refusal.tenant,), (refusal.tenant, refusal.caller)
        has_room = self._kinds[of_tenant] < KINDS_MAX
        if self._is_open(refusal) or (has_room and self._kinds[of_caller] < CALLER_KINDS_MAX):
            return refusal, (of_tenant, of_caller)
        shared = refusal.of_caller()
        return (shared, (of_tenant,)) if has_room or self._is_open(shared) else (refusal.without_names(), ())

    def _is_open(self, refusal: Refusal) -> bool:
        return (refusal.tenant, refusal.kind) in self._windows

    def _open(self, place: _Place, bounds: tuple[_Bound, ...]) -> _Window:
        window = self._windows[place] = _Window(bounds)
        self._kinds.update(bounds)
        self._ends.set(place, self._now() + WINDOW_US)
        return window

    def _window_over(self, place: _Place) -> None:
        window = self._windows.get(place)
        if window is None:
            return
        on_its_way = not window.recorded.is_set()
        if on_its_way or window.count:
            # What is on its way may come back uncounted: until then nothing else is written, and nothing forgotten.
            self._ends.set(place, self._now() + WINDOW_US)
            if not on_its_way:
                self._spawn(self._write(place, window))
            return
        del self._windows[place]
        for bound in window.bounds:
            self._kinds[bound] -= 1
            if not self._kinds[bound]:
                del self._kinds[bound]

    async def _write(self, place: _Place, window: _Window) -> None:
        event = window.take()
        if event is None:
            return
        window.recorded.clear()
        try:
            recorded = await self._journal.record(place[0], STREAM_ID, event)
            window.event = window.event or f"{SHARD}:{recorded.position}"
        except StoreError as error:
            # The refusal stands all the same, and is counted with those that follow.
            window.give_back(event)
            logger.warning("%d refusals of %s could not be recorded: %s", event.count, place[0], error)
        finally:
            window.recorded.set()
