"""Logs that break the contract of subscriptions, each as a system that is in use once did. Negative controls."""

import asyncio
from typing import NamedTuple


class Event(NamedTuple):
    position: int


class Batch(NamedTuple):
    events: list
    position: int


class SequenceLog:
    """Positions come from a sequence, before the commit, so a later position may commit first.

    Whoever follows by "everything after my position" never sees the earlier one: Marten's issues 1629 and 4952.
    """

    def __init__(self, chance):
        self._chance = chance
        self._last = 0
        self._committed = set()

    async def append(self):
        self._last += 1
        position = self._last
        for _ in range(self._chance.randint(0, 5)):
            await asyncio.sleep(0)
        self._committed.add(position)

    async def subscribe(self, after):
        while True:
            found = sorted(position for position in self._committed if position > after)
            after = found[-1] if found else after
            yield Batch([Event(position) for position in found], after)
            await asyncio.sleep(0)


class OverlappingLog:
    """A follower listens to what commits, then reads what is stored, and hands out both as they are.

    What commits in between comes twice, when replay goes over into live: Restate's issue 5375.
    """

    def __init__(self, chance):
        self._chance = chance
        self._stored = []
        self._listening = []

    async def append(self):
        for _ in range(self._chance.randint(0, 2)):
            await asyncio.sleep(0)
        self._stored.append(Event(len(self._stored) + 1))
        for live in self._listening:
            live.put_nowait(self._stored[-1])

    async def subscribe(self, after):
        live = asyncio.Queue()
        self._listening.append(live)
        for _ in range(3):
            await asyncio.sleep(0)
        stored = self._stored[after:]
        yield Batch(stored, stored[-1].position if stored else after)
        while True:
            event = await live.get()
            yield Batch([event], event.position)
