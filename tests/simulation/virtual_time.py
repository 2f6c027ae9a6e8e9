"""Time and chance that a seed decides: a loop that never waits, and runs what is ready in any order it likes.

Code that relies on an order which asyncio happens to keep, but nobody promised, fails under some seed.
"""

import asyncio
import gc
import random
from collections import deque

EPOCH_US = 1_700_000_000_000_000
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without the world: its time jumps to the next timer, in whole microseconds."""

    def __init__(self, chance=None):
        super().__init__()
        self.elapsed_us = 0
        self._chance = chance
        """What shuffles; None: the order of asyncio."""
        # The base class asks its selector for events, and how long it may take; this loop answers that itself.
        self._selector = self

    def time(self):
        return self.elapsed_us / 1_000_000

    def select(self, timeout):
        if timeout is None:
            raise RuntimeError("nothing is ready and nothing is scheduled: the loop would wait for ever")
        if timeout > 0:
            self.elapsed_us = max(self.elapsed_us + 1, round(self._scheduled[0].when() * 1_000_000))
        elif self._chance is not None and len(self._ready) > 1:
            ready = list(self._ready)
            self._chance.shuffle(ready)
            self._ready = deque(ready)
        return ()

    def _process_events(self, events):
        pass

    def _write_to_self(self):
        pass


async def elapse(seconds):
    """Let so much virtual time pass; it takes none."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    timer = loop.call_later(seconds, passed.set_result, None)
    try:
        await passed
    finally:
        timer.cancel()


class VirtualClock:
    """The service's clocks, tied to the loop."""

    def __init__(self, loop):
        self._loop = loop
        self.work_us = 0
        """What was computed. Only a test adds to it: what a seed decides must not depend on the machine."""

    def now_us(self):
        return EPOCH_US + self._loop.elapsed_us

    def monotonic(self):
        return self._loop.time()

    def worked_us(self):
        return self.work_us


class SeededChance(random.Random):
    """The service's randomness, and the simulation's."""

    def token(self):
        return "".join(self.choices(_ALPHABET, k=26))

    def chance(self):
        return self.random()

    def bytes(self, count):
        return self.randbytes(count)

    def happens(self, probability):
        return self.random() < probability


def run_virtually(main, *, seed=None):
    """Run `main(loop)` to its end in virtual time; with a seed, in that seed's order."""

    def make():
        return VirtualLoop(None if seed is None else SeededChance(f"order {seed}"))

    # A collection ends generators that nobody holds any more, and when it comes is nothing a seed decides.
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=make) as runner:
            return runner.run(main(runner.get_loop()))
    finally:
        gc.enable()
