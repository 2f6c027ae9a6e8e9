"""Results of one function, kept for a while: a bound on how many, and one run for calls that come at the same time.

Invariant: what a caller has is its own. Results are copied when they are kept and when they are given, so that nobody
changes what another will get.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from podium.argument_keys import ArgumentKeys, Key

_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes)


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a function's cache did since it was declared, and how much it holds."""

    hits: int = 0
    """Calls that got a fresh result without a run."""
    misses: int = 0
    """Runs of the function."""
    evictions: int = 0
    """Results that made room for others."""
    errors: int = 0
    """Runs that raised, and results that could not be copied and so were not kept."""
    stale: int = 0
    """Runs that raised and for which an older result stood in."""
    coalesced: int = 0
    """Calls that waited for the run of another."""
    size: int = 0
    """Results that are held, also those that are too old and were not asked for since."""


class Landed:
    """What a run gave, copied."""

    __slots__ = ("at", "value")

    def __init__(self, value: object, at: float) -> None:
        self.value = value
        self.at = at

    def given(self) -> Any:  # noqa: ANN401 -- whatever the function returns
        """Returns a copy for one caller."""
        return copied(self.value)


class Flight:
    """A run of the function, and those who wait for it."""

    __slots__ = ("caller", "future", "key")

    def __init__(self, key: Key, caller: object) -> None:
        self.key = key
        self.caller = caller
        self.future: Future[Ending] = Future()
        # A task that stops waiting must not cancel it for the others.
        self.future.set_running_or_notify_cancel()

    @property
    def is_lost(self) -> bool:
        """Whether nobody will ever end it: it runs in a task, and the task's loop was closed."""
        return isinstance(self.caller, asyncio.Task) and self.caller.get_loop().is_closed()


Ending: TypeAlias = Landed | Literal["abandoned", "not kept"]
Entered: TypeAlias = Landed | Flight | Future[Ending] | None


class FunctionCache:
    """The results of one function. Any thread may use it."""

    def __init__(
        self, keys: ArgumentKeys, *, ttl_s: float, stale_s: float, maxsize: int, clock: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._ttl_s = ttl_s
        self._stale_s = stale_s
        self._maxsize = maxsize
        self._clock = clock
        # Comparing keys calls the arguments' own code, which may come back here.
        self._lock = threading.RLock()
        self._kept: OrderedDict[Key, Landed] = OrderedDict()
        self._flights: dict[Key, Flight] = {}
        self._hits = self._misses = self._evictions = self._errors = self._stale = self._coalesced = 0

    def enter(self, key: Key, caller: object) -> Entered:
        """Begins a call.

        Returns:
            What is kept; a flight, which the caller now has to run and end; the future of another's flight; or None
            where the caller itself is in that flight already, and can only run the function.
        """
        with self._lock:
            self._bury()
            kept = self._kept.get(key)
            if kept is not None:
                age_s = self._clock() - kept.at
                if age_s < self._ttl_s:
                    self._kept.move_to_end(key)
                    self._hits += 1
                    return kept
                if age_s >= self._ttl_s + self._stale_s:
                    self._drop(key)
            flight = self._flights.get(key)
            if flight is not None and flight.is_lost:
                self.abandon(flight)
                flight = None
            if flight is not None and flight.caller != caller:
                self._coalesced += 1
                return flight.future
            if flight is not None:
                return None
            self._misses += 1
            self._flights[key] = flight = Flight(key, caller)
            return flight

    @contextlib.contextmanager
    def passed(self) -> Generator[None, None, None]:
        """Counts a run that has nothing to do with what is kept: the block."""
        with self._lock:
            self._misses += 1
        try:
            yield
        except Exception:
            with self._lock:
                self._errors += 1
            raise

    def land(self, flight: Flight, value: object) -> None:
        """Ends a flight with the function's result."""
        try:
            landed = Landed(copied(value), self._clock())
        except Exception:  # noqa: BLE001 -- a class may copy itself as it likes; the call itself has not failed
            with self._lock:
                self._errors += 1
                self._leave(flight)
            flight.future.set_result("not kept")
            return
        with self._lock:
            # Whoever invalidated meanwhile does not want what began before.
            if self._leave(flight):
                self._keep(flight.key, landed)
        flight.future.set_result(landed)

    def fail(self, flight: Flight, error: Exception) -> Landed | None:
        """Ends a flight with an error, and returns what stands in for it."""
        with self._lock:
            self._errors += 1
            kept = self._kept.get(flight.key) if self._leave(flight) else None
            if kept is not None and self._clock() - kept.at < self._ttl_s + self._stale_s:
                self._stale += 1
            else:
                kept = None
        if kept is None:
            flight.future.set_exception(error)
        else:
            flight.future.set_result(kept)
        return kept

    def abandon(self, flight: Flight) -> None:
        """Ends a flight whose caller was stopped: the first of those who wait runs the function in turn."""
        with self._lock:
            self._leave(flight)
            # The task of one that was lost is thrown away later, and is stopped by that.
            if not flight.future.done():
                flight.future.set_result("abandoned")

    def invalidate(self, key: Key | None = None) -> int:
        """Forgets one result, or all, and what runs that are under way will give. Returns how many were forgotten."""
        with self._lock:
            self._bury()
            keys = list(self._kept) if key is None else [key] if key in self._kept else []
            for each in keys:
                self._drop(each)
            if key is None:
                self._flights.clear()
            else:
                self._flights.pop(key, None)
            return len(keys)

    def stats(self) -> CacheStats:
        """Returns the counts until now."""
        with self._lock:
            self._bury()
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                errors=self._errors,
                stale=self._stale,
                coalesced=self._coalesced,
                size=len(self._kept),
            )

    def _leave(self, flight: Flight) -> bool:
        current = self._flights.get(flight.key) is flight
        if current:
            del self._flights[flight.key]
        return current

    def _keep(self, key: Key, landed: Landed) -> None:
        self._kept[key] = landed
        self._kept.move_to_end(key)
        if key.owner is not None:
            key.owner.keys.add(key)
        while len(self._kept) > self._maxsize:
            self._drop(next(iter(self._kept)))
            self._evictions += 1

    def _drop(self, key: Key) -> None:
        del self._kept[key]
        if key.owner is not None:
            key.owner.keys.discard(key)

    def _bury(self) -> None:
        while self._keys.ended:
            owner = self._keys.ended.popleft()
            self._keys.forget(owner)
            for key in list(owner.keys):
                self._drop(key)


def copied(value: object) -> Any:  # noqa: ANN401 -- whatever the function returns
    """Returns a copy that shares nothing which can change."""
    return value if type(value) in _IMMUTABLE else copy.deepcopy(value)
