"""A sync that fails and is forgotten: the next one succeeds, and what the first was for may never reach the disk.

Some kernels report a page that could not be written once, and take it to be clean from then on. So each run fails at
one sync, of a commit or of a checkpoint; the store is closed, or dies, and is opened again over whatever the memory of
the machine still shows; and then the power fails. Everything that was acknowledged before or after is in the images.
"""

import sqlite3
import tempfile
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from store import sqlite_engine
from store.contract import StoreError
from store.migrate import migrate
from store.sqlite_engine import rewrite_log
from tests.faults.acknowledged import EagerBackend, log_at, write
from tests.faults.crash_images import ForgetfulRecorder
from tests.faults.power_loss import MEMORY, PowerLoss
from tests.faults.row import Row
from tests.faults.watched_vfs import OK, Watcher

TARGETS = {"make": 120, "faults": 2_000, "nightly": 600}
SYNCS = 22
"""The sync that fails is one of the first so many, which is about as many as a run has."""
DANGEROUS_CHANGES = 60
CONTROL_ROUNDS = 30
CONTROL_IMAGES = 100


@contextmanager
def rewriting_with(rewrite):
    """Whoever opens a file for writing does this to its log first, in place of what the store does."""
    before = sqlite_engine.rewrite_log
    sqlite_engine.rewrite_log = rewrite
    try:
        yield
    finally:
        sqlite_engine.rewrite_log = before


def seen_by(recorder):
    """What the store does to the log without SQLite, so that the recorder sees it too."""

    def rewrite(path):
        rewrite_log(path)
        log = path.with_name(f"{path.name}-wal")
        if log.exists():
            recorder.write(str(log), 0, log.read_bytes())
            if recorder.sync(str(log)) != OK:
                raise StoreError("the sync of the log failed")

    return rewrite


def trusting(recorder):
    """A negative control: the log that the machine's memory shows is taken for the one on the disk."""
    return lambda path: None


class ForgottenSyncs(PowerLoss):
    """Runs in which one sync fails."""

    images_a_run = 20
    rounds_a_life = (4, 1)

    def __init__(self, directory, rewriting=seen_by, dies=0.5):
        super().__init__(directory, EagerBackend)
        self._rewriting = rewriting
        self._dies_how_often = dies
        self._dies = False

    def recorder(self, chance):
        self._dies = chance.random() < self._dies_how_often
        return ForgetfulRecorder(passing=chance.randrange(SYNCS))

    def dangerous(self, changes):
        """Soon after the failure: what comes later overwrites what was forgotten."""
        failed = next((number for number, change in enumerate(changes) if change[0] == "forget"), 0)
        return range(failed, min(failed + DANGEROUS_CHANGES, len(changes)))

    async def live(self, path, rounds, recorder):
        """One life of the store, begun as the service begins; the failure ends it, wherever it comes."""
        failed_before = recorder.has_failed
        log = log_at(path, self._backend_class)
        try:
            with rewriting_with(self._rewriting(recorder)):
                migrate(f"sqlite:///{path}")
                await log.open()
        except (StoreError, DBAPIError):
            if failed_before or not recorder.has_failed:
                raise
            return
        refusals = await write(log, f"life{rounds}", rounds, recorder.acknowledged)
        left = {each: each.read_bytes() for each in path.parent.glob(f"{path.name}*") if not each.name.endswith("-shm")}
        with suppress(sqlite3.Error), self._vfs.watching(Watcher()) if self._dies and refusals else nullcontext():
            await log.close()
        if self._dies and refusals:
            # It died instead: its closing was seen by nobody, and the files are as they were.
            for each, data in left.items():
                each.write_bytes(data)
        if refusals and (failed_before or not recorder.has_failed):
            raise refusals[0]


def run(scale, seed, progress):
    images = TARGETS[scale]
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        forgotten = ForgottenSyncs(Path(folder))
        forgotten.lose(images, seed, progress)
        caught = is_trust_found(Path(folder), seed)
    return Row("forgotten_syncs", seed, images, images, tuple(forgotten.violations), caught)


def is_trust_found(directory, seed):
    # The power has to fail between the checkpoint of what was forgotten and the next commit, which is chance.
    for number in range(CONTROL_ROUNDS):
        control = ForgottenSyncs(directory, trusting, dies=1.0)
        control.lose(CONTROL_IMAGES, f"{seed}/{number}")
        if control.violations:
            return True
    return False
