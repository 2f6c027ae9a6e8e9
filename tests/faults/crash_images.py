"""What a power failure may leave of files, given everything that was done to them until then.

What was written before a file's last sync is there. Of what came later anything may be there or not: each write as a
whole, in part by sectors of 512 bytes, or not at all, whatever became of those before it; each truncation and each
file that was made, too.
"""

from dataclasses import dataclass, field

from tests.faults.watched_vfs import OK, Watcher

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


@dataclass
class File:
    """A file as it is on the disk, and what was done to it since its last sync."""

    durable: bytearray | None = None
    """None: it may not be there."""
    pending: list = field(default_factory=list)


class Disk:
    """The files, brought forward change by change."""

    def __init__(self, files):
        self._files = {path: File(bytearray(data)) for path, data in files.items()}

    def apply(self, change):
        what, path, *details = change
        file = self._files.setdefault(path, File())
        if what == "sync":
            file.durable = bytearray(file.durable or b"")
            for each in file.pending:
                _apply(file.durable, *each)
            file.pending = []
        elif what == "delete" and details == [True]:
            del self._files[path]
        else:
            file.pending.append((what, *details))

    def after_power_loss(self, chance):
        """One of the many things that may be left: path → bytes."""
        survival = chance.choice(SURVIVAL)
        left = {}
        for path, file in self._files.items():
            if file.durable is None and chance.random() >= survival:
                continue
            data = bytearray(file.durable or b"")
            for what, *details in file.pending:
                if what == "delete":
                    if chance.random() < survival:
                        break
                elif chance.random() < survival:
                    _apply(data, what, *details)
                elif what == "write" and chance.random() < 0.5:
                    _tear(data, *details, chance)
            else:
                left[path] = bytes(data)
        return left


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
