"""Power loss with SQLite: crash images, made from what a real store did to its files, lose nothing acknowledged.

Each run writes to a watched file system: two lives of the store, with checkpoints between. At random moments of it
images are made of what the disk may hold by then; each is opened by the real store, and holds whatever had been
acknowledged until that moment.
"""

import asyncio
import random
import shutil
import tempfile
from pathlib import Path

from store.migrate import migrate
from tests.faults.acknowledged import EagerBackend, log_at, missing, write
from tests.faults.crash_images import Disk, Recorder
from tests.faults.row import Row, Violation
from tests.faults.watched_vfs import watched_vfs

TARGETS = {"make": 150, "faults": 10_000, "nightly": 2_000}
IMAGES_A_MOMENT = 4
CONTROL_IMAGES = 200
MEMORY = Path("/dev/shm")


class NormalBackend(EagerBackend):
    """A negative control: the disk is not waited for."""

    synchronous = "NORMAL"


class PowerLoss:
    """Runs of the store on a watched file system, and the images of its crashes."""

    images_a_run = 200
    rounds_a_life = (8, 14)

    def __init__(self, directory, backend_class):
        self._directory = directory
        self._backend_class = backend_class
        self._vfs = watched_vfs()
        self._empty = directory / "empty.db"
        migrate(f"sqlite:///{self._empty}")
        self.violations = []

    def lose(self, images, seed, progress=lambda done: None):
        """Make so many images and look into each."""
        with asyncio.Runner() as runner:
            for first in range(0, images, self.images_a_run):
                chance = random.Random(f"{seed}/{first}")
                with tempfile.TemporaryDirectory(dir=self._directory) as folder:
                    runner.run(self._one_run(Path(shutil.copy(self._empty, Path(folder) / "log.db")), chance))
                progress(first + self.images_a_run)

    async def _one_run(self, path, chance):
        recorder = self.recorder(chance)
        with self._vfs.watching(recorder):
            for rounds in self.rounds_a_life:
                await self.live(path, rounds, recorder)
        moments = chance.choices(self.dangerous(recorder.log), k=self.images_a_run // IMAGES_A_MOMENT)
        await self._look(path, recorder.log, sorted(moments), chance)

    def recorder(self, chance):
        return Recorder()

    def dangerous(self, changes):
        """Before which of the changes the power may fail."""
        return range(len(changes))

    async def live(self, path, rounds, recorder):
        """One life of the store: it opens the file, writes, and closes it."""
        log = log_at(path, self._backend_class)
        await log.open()
        refusals = await write(log, f"life{rounds}", rounds, recorder.acknowledged)
        await log.close()
        assert not refusals, refusals

    async def _look(self, path, changes, moments, chance):
        disk = Disk({str(path): self._empty.read_bytes()}, chance)
        facts, done = [], 0
        for moment in moments:
            for change in changes[done:moment]:
                if change[0] == "acknowledged":
                    facts.append(change[1])
                else:
                    disk.apply(change)
            done = moment
            for _ in range(IMAGES_A_MOMENT):
                await self._examine(disk.after_power_loss(chance), facts, f"change {moment} of {len(changes)}")

    async def _examine(self, image, facts, when):
        with tempfile.TemporaryDirectory(dir=self._directory) as folder:
            for path, data in image.items():
                (Path(folder) / Path(path).name).write_bytes(data)
            for complaint in await missing(Path(folder) / "log.db", facts):
                self.violations.append(Violation(f"power lost at {when}: {complaint}"))


def run(scale, seed, progress):
    images = TARGETS[scale]
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        loss = PowerLoss(Path(folder), EagerBackend)
        loss.lose(images, seed, progress)
        control = PowerLoss(Path(folder), NormalBackend)
        control.lose(CONTROL_IMAGES, seed)
    found = any("was acknowledged and is not there" in each.what for each in control.violations)
    made = -(-images // loss.images_a_run) * loss.images_a_run
    return Row("power_loss", seed, made, images, tuple(loss.violations), found)
