"""The model store with time and faults in it: commits take a while, may be refused, and stop in a crash."""

import asyncio

from store.contract import OwnershipLostError, QueueFullError
from tests.contract.model import ModelStore
from tests.simulation.virtual_time import elapse

READ_MAX_S = 0.05
COMMIT_MAX_S = 0.02


class Ownership:
    """Whose the log is: the epoch of the newest owner, and the epochs under which commits were made."""

    def __init__(self, *, is_enforced=True):
        self.epoch = 0
        self.is_enforced = is_enforced
        """False only in a negative control."""
        self.commits = []


class UnreliableStore(ModelStore):
    """A ModelStore for one life of the service; the database outlives it.

    Whoever opens it owns the log from then on. The owner before finds out with its next commit.
    """

    def __init__(self, database, clock, chance, *, ownership=None, commit_max_s=COMMIT_MAX_S):
        super().__init__(database, clock)
        self._ownership = ownership or Ownership()
        self._epoch = 0
        self._is_deposed = False
        self._chance = chance
        self._commit_max_s = commit_max_s
        self.refusing = 0.0
        """How often an append is refused because the queue is full."""
        self.submitted = 0
        self.dead = False

    async def open(self):
        self._db.is_owned = False
        await super().open()
        self._ownership.epoch += 1
        self._epoch = self._ownership.epoch

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
        self._is_open = False

    def _enqueue(self, change, done):
        if self._is_open and not self._queue:
            delay_s = self._chance.uniform(0, self._commit_max_s)
            asyncio.get_running_loop().call_later(delay_s, self._commit)
            self._queue.append((change, done))
        elif self._is_open:
            self._queue.append((change, done))
        elif self._is_deposed:
            asyncio.get_running_loop().call_soon(done, OwnershipLostError("another service owns the log"))
        elif not self.dead:
            super()._enqueue(change, done)

    def _commit(self):
        if self.dead:
            return
        if self._epoch != self._ownership.epoch and self._ownership.is_enforced:
            queue, self._queue = self._queue, []
            self._is_deposed, self._is_open = True, False
            for _, done in queue:
                done(OwnershipLostError("another service owns the log"))
            return
        self._ownership.commits.append(self._epoch)
        super()._commit()
