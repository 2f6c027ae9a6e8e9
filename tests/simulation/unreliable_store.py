"""The model store with time and faults in it: commits take a while, may be refused, and stop in a crash."""

import asyncio

from store.contract import QueueFullError
from tests.contract.model import ModelStore
from tests.simulation.virtual_time import elapse

READ_MAX_S = 0.05
COMMIT_MAX_S = 0.02


class UnreliableStore(ModelStore):
    """A ModelStore for one life of the service; the database outlives it."""

    def __init__(self, database, clock, chance, *, commit_max_s=COMMIT_MAX_S):
        super().__init__(database, clock)
        self._chance = chance
        self._commit_max_s = commit_max_s
        self.refusing = 0.0
        """How often an append is refused because the queue is full."""
        self.submitted = 0
        self.dead = False

    def submit(self, append, done):
        self.submitted += 1
        if self._chance.happens(self.refusing):
            asyncio.get_running_loop().call_soon(done, QueueFullError("simulated"))
        else:
            super().submit(append, done)

    async def append_chunks(self, chunks):
        if self._chance.happens(self.refusing):
            raise QueueFullError("simulated")
        return await super().append_chunks(chunks)

    async def read_stream(self, *place, **bounds):
        await self._take_a_while()
        return await super().read_stream(*place, **bounds)

    async def read_attempt_chunks(self, *attempt):
        await self._take_a_while()
        return await super().read_attempt_chunks(*attempt)

    async def _take_a_while(self):
        await elapse(self._chance.uniform(0, READ_MAX_S))

    def crash(self, *, committing):
        """The process is gone: what waited is lost, or `committing`: durable, and nobody was told."""
        if committing:
            self._queue = [(change, lambda _outcome: None) for change, _ in self._queue]
            self._commit()
        self.dead = True
        self._queue.clear()
        self._is_open = self._db.is_owned = False

    def _enqueue(self, change, done):
        if self._is_open and not self._queue:
            delay_s = self._chance.uniform(0, self._commit_max_s)
            asyncio.get_running_loop().call_later(delay_s, self._commit)
            self._queue.append((change, done))
        elif self._is_open:
            self._queue.append((change, done))
        elif not self.dead:
            super()._enqueue(change, done)

    def _commit(self):
        if not self.dead:
            super()._commit()
