"""A sync that fails and is forgotten: the next one succeeds, and what the first was for may never reach the disk.

Some kernels report a page that could not be written once, and take it to be clean from then on. So each run fails at
one sync, of a commit or of a checkpoint; the store is closed, or dies, and is opened again over whatever the memory of
the machine still shows; and then the power fails. Everything that was acknowledged before or after is in the images.
"""

import sqlite3
import tempfile
from contextlib import nullcontext, suppress
from pathlib import Path

from store.contract import StoreError
from tests.faults.acknowledged import EagerBackend, log_at, write
from tests.faults.crash_images import ForgetfulRecorder
from tests.faults.failing_disk import CarelessBackend
from tests.faults.power_loss import MEMORY, PowerLoss
from tests.faults.row import Row, Violation
from tests.faults.watched_vfs import Watcher

TARGETS = {"make": 120, "faults": 2_000, "nightly": 600}
SYNCS = 22
"""The sync that fails is one of the first so many, which is about as many as a run has."""
CONTROL_IMAGES = 200


class ForgottenSyncs(PowerLoss):
    """Runs in which one sync fails."""

    images_a_run = 20
    rounds_a_life = (3, 2)

    _dies = False

    def recorder(self, chance):
        self._dies = chance.random() < 0.5
        return ForgetfulRecorder(passing=chance.randrange(SYNCS))

    async def live(self, path, rounds, recorder):
        """One life of the store; the failure ends it, wherever it comes."""
        failed_before = recorder.has_failed
        log = log_at(path, self._backend_class)
        try:
            await log.open()
        except StoreError:
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
        forgotten = ForgottenSyncs(Path(folder), EagerBackend)
        forgotten.lose(images, seed, progress)
        control = ForgottenSyncs(Path(folder), CarelessBackend)
        with suppress(StoreError):
            # It stumbles over itself at last; what it has acknowledged by then is lost already.
            control.lose(CONTROL_IMAGES, seed)
    found = any("was acknowledged and is not there" in each.what for each in control.violations)
    return Row("forgotten_syncs", seed, images, images, tuple(forgotten.violations), found)
