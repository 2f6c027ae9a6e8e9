"""A real database that is unavailable for a while, before a write has committed or after it."""

import asyncio

from service.projections.database import DatabaseUnavailableError


class Unreliable:
    def __init__(self, database):
        self._database = database
        self._writes = 0
        self._committed = False
        self._reads_fail = False
        self.failed = asyncio.Event()

    def fail_writes(self, count, *, committed):
        """Let the next writes fail; the first of them after it has committed, or none."""
        self._writes, self._committed = count, committed

    def fail_reads(self):
        self._reads_fail = True

    async def write(self, work):
        if not self._writes:
            return await self._database.write(work)
        self._writes -= 1
        if self._committed:
            self._committed = False
            await self._database.write(work)
        self.failed.set()
        raise DatabaseUnavailableError("the disk is full")

    async def read(self, work):
        if self._reads_fail:
            raise DatabaseUnavailableError("the disk is full")
        return await self._database.read(work)


class Held:
    """A real database one of whose reads waits between being asked for and looking at a table."""

    def __init__(self, database):
        self._database = database
        self._held = None
        self.write = database.write

    def hold_next_read(self):
        self._held = self
        self.began, self.go_on = asyncio.Event(), asyncio.Event()
        return self

    async def read(self, work):
        if self._held is not None:
            self._held = None
            self.began.set()
            await self.go_on.wait()
        return await self._database.read(work)
