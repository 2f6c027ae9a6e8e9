"""A disk that is full or fails, at every single change of a run: the writer fails closed, and restarts clean.

The run is repeated until it has failed at each of its writes, truncations and syncs, once with a disk that is full
(and takes half of the write), once with an error of the device; for a moment, or for the rest of the life. After the
failure the store acknowledges nothing and says so; with room again it opens, and holds what it acknowledged.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import suppress
from itertools import product
from pathlib import Path

from store.contract import StoreError
from store.migrate import migrate
from tests.faults.acknowledged import EagerBackend, log_at, missing, write
from tests.faults.power_loss import MEMORY
from tests.faults.row import Row, Violation
from tests.faults.watched_vfs import FULL, IOERR_FSYNC, IOERR_TRUNCATE, IOERR_WRITE, OK, Watcher, watched_vfs

TARGETS = {"make": 100, "faults": 1_200, "nightly": 500}
ROUNDS = {"make": 1, "faults": 6, "nightly": 3}
KINDS = tuple(product(("full", "broken"), ("once", "for good")))
CONTROL_CASES = 60


class Faults(Watcher):
    """Lets so many changes pass and refuses the next, or all that follow."""

    def __init__(self, passing, kind="broken", lasting="for good"):
        self._passing = passing
        self._kind = kind
        self._lasting = lasting
        self.count = 0
        self.struck = False

    def _answer(self, code):
        self.count += 1
        fails = self.count > self._passing and (not self.struck or self._lasting == "for good")
        self.struck = self.struck or fails
        return code if fails else OK

    def write(self, path, offset, data):
        return self._answer(FULL if self._kind == "full" else IOERR_WRITE)

    def truncate(self, path, size):
        return self._answer(IOERR_TRUNCATE)

    def sync(self, path):
        return self._answer(IOERR_FSYNC)


class CarelessBackend(EagerBackend):
    """A negative control: an error of the disk is passed over, and the next commit is made."""

    async def commit(self, batch):
        with suppress(sqlite3.Error):
            await super().commit(batch)


class Trial:
    """One failure: a life of the store in which it comes, and a life after it."""

    def __init__(self, path, faults, backend_class):
        self._path = path
        self._faults = faults
        self._backend_class = backend_class
        self._facts = []
        self.complaints = []

    async def run(self, vfs, rounds):
        with vfs.watching(self._faults):
            await self._live(rounds)
        self.complaints += await missing(self._path, self._facts)

    async def _live(self, rounds):
        log = log_at(self._path, self._backend_class)
        try:
            await log.open()
        except StoreError:
            if not self._faults.struck:
                raise
            return
        refusals = await write(log, "life", rounds, self._facts.append)
        if refusals:
            await self._fails_closed(log)
        # Whatever the disk answers to that, the next life starts from what it finds.
        with suppress(sqlite3.Error):
            await log.close()

    async def _fails_closed(self, log):
        async with asyncio.timeout(10):
            await log.failed()
        known = len(self._facts)
        again = await write(log, "more", 1, self._facts.append)
        if not again or len(self._facts) > known:
            self.complaints.append("something was acknowledged after the store had failed")


class FailingDisk:
    """The same run with its failure at every place."""

    def __init__(self, directory, backend_class):
        self._directory = directory
        self._backend_class = backend_class
        self._vfs = watched_vfs()
        self._empty = directory / "empty.db"
        migrate(f"sqlite:///{self._empty}")
        self.cases = 0
        self.violations = []

    def fail_everywhere(self, rounds, progress=lambda done: None, limit=None):
        """Fail at each change in turn, until a run passes without having met one."""
        with asyncio.Runner() as runner:
            for kind, lasting in KINDS:
                passing = 0
                while runner.run(self._fail_at(passing, kind, lasting, rounds)) and passing != limit:
                    passing += 1
                    self.cases += 1
                    progress(self.cases)

    async def _fail_at(self, passing, kind, lasting, rounds):
        """Whether the run came to the change that was to fail."""
        with tempfile.TemporaryDirectory(dir=self._directory) as folder:
            path = Path(shutil.copy(self._empty, folder))
            faults = Faults(passing, kind, lasting)
            trial = Trial(path, faults, self._backend_class)
            await trial.run(self._vfs, rounds)
        for complaint in trial.complaints:
            self.violations.append(Violation(f"the disk was {kind} {lasting} at change {passing + 1}: {complaint}"))
        return faults.struck


def run(scale, seed, progress):
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        disk = FailingDisk(Path(folder), EagerBackend)
        disk.fail_everywhere(ROUNDS[scale], progress)
        control = FailingDisk(Path(folder), CarelessBackend)
        control.fail_everywhere(ROUNDS["make"], limit=CONTROL_CASES)
    found = any("was acknowledged and is not there" in each.what for each in control.violations)
    return Row("failing_disk", seed, disk.cases, TARGETS[scale], tuple(disk.violations), found)
