"""Identical calls that are under way: one of them leads, and the others wait in its line for what becomes of it.

Invariant: a flight has at most one leader, and every step in its line is asked for again once: as the next leader, or
when the flight is over. A step that was given a result keeps it until it asks or ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.admission.result_cache import Entry
from service.admission.verdicts import LOOK_AGAIN_US, Step
from service.domain.caching import Plan


@dataclass(frozen=True, slots=True)
class Call:
    """What identical calls have in common."""

    key: bytes
    tenant: str
    tool: str
    tool_version: int
    arguments_digest: bytes
    subject: str
    """Whose results they are; empty: every subject's."""
    plan: Plan
    generation: int
    """The position of the last invalidation that speaks of them; 0: none does."""


class Flight:
    """One flight, and the line of those who wait for it; see service.admission.pipeline.WaitingLine."""

    __slots__ = ("_flights", "call", "entry", "is_asking", "is_coalesced", "is_over", "leader", "waiting")

    def __init__(self, flights: Flights, call: Call, leader: Step, *, is_asking: bool) -> None:
        self._flights = flights
        self.call = call
        self.leader: Step | None = leader
        """Who calls the tool, or may; None: it left while the remote cache was asked."""
        self.is_asking = is_asking
        """The remote cache is asked: nobody calls the tool yet."""
        self.is_over = False
        self.entry: Entry | None = None
        """What those who waited are given."""
        self.is_coalesced = False
        """That was produced meanwhile, and not found."""
        self.waiting: dict[Step, None] = {}

    def __contains__(self, step: Step) -> bool:
        return step in self.waiting

    def join(self, step: Step) -> Flight:
        """A step waits, from when that is durable. What has happened to the flight by then, it is told at once."""
        if self.is_over:
            self._flights.give(self, step)
        elif self.leader == step and not self.is_asking:
            self._flights.wake(step)
        else:
            self._flights.wait(self, step)
        return self

    def let_through(self, now_us: int) -> tuple[list[Step], int | None]:
        """Nobody by time alone: they are woken by what happens."""
        return [], now_us + LOOK_AGAIN_US if self.waiting else None

    def leave(self, step: Step) -> None:
        """A step started or ended."""
        self._flights.stop_waiting(self, step)

    def move_away(self, step: Step) -> None:
        """A step waits for something else."""
        self._flights.stop_waiting(self, step)


class Flights:
    """All flights, by key and by leader."""

    def __init__(self) -> None:
        self.wake: Callable[[Step], None] = _nobody
        """Has a step that waits asked about again, without a place on an executor."""
        self._by_key: dict[bytes, Flight] = {}
        self._leading: dict[Step, Flight] = {}
        self._ending: dict[Step, Flight] = {}
        """Flights whose leader has succeeded, which is not durable yet."""
        self._waiting: dict[Step, Flight] = {}
        self._given: dict[Step, tuple[Flight, Entry]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def is_idle(self) -> bool:
        """Whether no step leads, waits or was given something."""
        return not (self._leading or self._waiting or self._given)

    def find(self, key: bytes) -> Flight | None:
        """The flight of a call."""
        return self._by_key.get(key)

    def begin(self, call: Call, leader: Step, *, is_asking: bool = False) -> Flight:
        """A step leads: it calls the tool, or asks the remote cache before."""
        flight = self._by_key[call.key] = Flight(self, call, leader, is_asking=is_asking)
        self._stop_leading(leader)
        self._leading[leader] = flight
        return flight

    def begin_alone(self, call: Call, leader: Step) -> None:
        """A step calls the tool, and nobody waits for it."""
        self._stop_leading(leader)
        self._leading[leader] = Flight(self, call, leader, is_asking=False)

    def take_given(self, step: Step, key: bytes) -> tuple[Flight, Entry] | None:
        """What a step waited for, if it still makes the same call."""
        given = self._given.pop(step, None) if self._given else None
        return given if given is not None and given[0].call.key == key else None

    def wait(self, flight: Flight, step: Step) -> None:
        """A step stands in line."""
        if self._leading.get(step) is not flight:
            self._stop_leading(step)
        flight.waiting[step] = None
        self._waiting[step] = flight

    def stop_waiting(self, flight: Flight, step: Step) -> None:
        """A step does not stand in line any more."""
        flight.waiting.pop(step, None)
        # It may stand in another line by now.
        if self._waiting.get(step) is flight:
            del self._waiting[step]

    def succeeded(self, step: Step) -> None:
        """A step has succeeded, which is not durable yet."""
        flight = self._leading.pop(step, None)
        if flight is not None:
            self._ending[step] = flight

    def led_by(self, step: Step) -> Flight | None:
        """The flight that a step leads."""
        return self._leading.get(step)

    def take_ending(self, step: Step) -> Flight | None:
        """The flight whose leader's success is durable now, or was undone."""
        return self._ending.pop(step, None)

    def left(self, step: Step) -> None:
        """A step was canceled or lost, or never began: if it led, the next one does."""
        self._given.pop(step, None)
        awaited = self._waiting.get(step)
        if awaited is not None:
            # Its line learns of it only when that is durable, and it must not be handed anything until then.
            self.stop_waiting(awaited, step)
        self._stop_leading(step)

    def _stop_leading(self, step: Step) -> None:
        """A step leads no more, or soon another flight: what it led goes on without it."""
        flight = self._leading.pop(step, None)
        if flight is None:
            return
        if flight.is_asking:
            flight.leader = None
        else:
            self.hand_over(flight)

    def asked(self, flight: Flight) -> None:
        """The remote cache has nothing: whoever had it asked goes on, or the next."""
        flight.is_asking = False
        leader = flight.leader
        if leader is None:
            self.hand_over(flight)
        elif leader in flight.waiting:
            self.stop_waiting(flight, leader)
            self.wake(leader)

    def hand_over(self, flight: Flight) -> None:
        """The leader does not call the tool any more: the first of those who wait is asked about, and no other."""
        following = next(iter(flight.waiting), None)
        if following is None or flight.is_over:
            self.finish(flight)
            return
        self.stop_waiting(flight, following)
        flight.leader = following
        self._leading[following] = flight
        self.wake(following)

    def finish(self, flight: Flight, entry: Entry | None = None, *, is_coalesced: bool = False) -> None:
        """A flight is over: those who wait are given what came of it, and are asked about again."""
        if self._by_key.get(flight.call.key) is flight:
            del self._by_key[flight.call.key]
        if flight.leader is not None and self._leading.get(flight.leader) is flight:
            del self._leading[flight.leader]
        flight.is_over, flight.entry, flight.is_coalesced = True, entry, is_coalesced
        waiting, flight.waiting = flight.waiting, {}
        for step in waiting:
            self.stop_waiting(flight, step)
            self.give(flight, step)

    def give(self, flight: Flight, step: Step) -> None:
        """Give a step what came of a flight, and have it asked about again."""
        if flight.entry is not None:
            self._given[step] = (flight, flight.entry)
        self.wake(step)

    def invalidate(self, tenant: str, tool: str, arguments_digest: bytes) -> None:
        """End the flights that speak of what is not to be used any more: what comes of them is nobody's."""
        under_way = (*self._by_key.values(), *self._leading.values(), *self._ending.values())
        for flight in dict.fromkeys(under_way):
            call = flight.call
            if call.tenant == tenant and tool in ("", call.tool) and arguments_digest in (b"", call.arguments_digest):
                self.finish(flight)
        for step, (flight, _) in list(self._given.items()):
            call = flight.call
            if call.tenant == tenant and tool in ("", call.tool) and arguments_digest in (b"", call.arguments_digest):
                del self._given[step]


def _nobody(step: Step) -> None:
    del step
