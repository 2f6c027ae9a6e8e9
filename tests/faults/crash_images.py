"""What a power failure may leave of files, given everything that was done to them until then.

What was written before a file's last sync is there. Of what came later anything may be there or not: each write as a
whole, in part by sectors of 512 bytes, or not at all, whatever became of those before it; each truncation and each
file that was made, too.
"""

from dataclasses import dataclass, field

from tests.faults.watched_vfs import IOERR_FSYNC, OK, Watcher

SECTOR_BYTES = 512
SURVIVAL = (0.0, 0.1, 0.5, 0.9, 1.0)
"""How much of what was not synced survives: one of these for each image."""


class Recorder(Watcher):
    """Writes down what is done to files, and between it what a client was told."""

    def __init__(self):
        self.log = []

    def write(self, path, offset, data):
        self.log.append(("write", path, offset, data))
        return OK

    def truncate(self, path, size):
        self.log.append(("truncate", path, size))
        return OK

    def sync(self, path):
        self.log.append(("sync", path))
        return OK

    def delete(self, path, is_durable):
        self.log.append(("delete", path, is_durable))
        return OK

    def acknowledged(self, fact):
        self.log.append(("acknowledged", fact))


class ForgetfulRecorder(Recorder):
    """Fails one sync, and no other: as a kernel does that reports a lost page once and forgets it."""

    def __init__(self, passing):
        super().__init__()
        self._passing = passing
        self.has_failed = False

    def sync(self, path):
        if self._passing == 0 and not self.has_failed:
            self.has_failed = True
            self.log.append(("forget", path))
            return IOERR_FSYNC
        self._passing -= 1
        return super().sync(path)


@dataclass
class File:
    """A file as it is on the disk, and what was done to it since its last sync."""

    durable: bytearray | None = None
    """None: it may not be there."""
    pending: list = field(default_factory=list)


class Disk:
    """The files, brought forward change by change."""

    def __init__(self, files, chance=None):
        self._files = {path: File(bytearray(data)) for path, data in files.items()}
        self._chance = chance
        """What decides what is left of a file whose sync failed."""

    def apply(self, change):
        what, path, *details = change
        file = self._files.setdefault(path, File())
        if what == "sync":
            file.durable = bytearray(file.durable or b"")
            for each in file.pending:
                _apply(file.durable, *each)
            file.pending = []
        elif what == "forget":
            left = _survivors(file, self._chance.choice(SURVIVAL), self._chance)
            file.durable, file.pending = None if left is None else bytearray(left), []
        elif what == "delete" and details == [True]:
            del self._files[path]
        else:
            file.pending.append((what, *details))

    def after_power_loss(self, chance):
        """One of the many things that may be left: path → bytes."""
        survival = chance.choice(SURVIVAL)
        left = {}
        for path, file in self._files.items():
            data = _survivors(file, survival, chance)
            if data is not None:
                left[path] = data
        return left


def _survivors(file, survival, chance):
    """What may be left of a file, of which so much survives that was not synced; None: there is no file."""
    if file.durable is None and chance.random() >= survival:
        return None
    data = bytearray(file.durable or b"")
    for what, *details in file.pending:
        if what == "delete":
            if chance.random() < survival:
                return None
        elif chance.random() < survival:
            _apply(data, what, *details)
        elif what == "write" and chance.random() < 0.5:
            _tear(data, *details, chance)
    return bytes(data)


def _apply(data, what, *details):
    if what == "write":
        offset, written = details
        data.extend(bytes(max(0, offset - len(data))))
        data[offset : offset + len(written)] = written
    elif what == "truncate":
        del data[details[0] :]


def _tear(data, offset, written, chance):
    """Some of the sectors that a write touches are written."""
    start = offset
    while start < offset + len(written):
        end = min((start // SECTOR_BYTES + 1) * SECTOR_BYTES, offset + len(written))
        if chance.random() < 0.5:
            _apply(data, "write", start, written[start - offset : end - offset])
        start = end
