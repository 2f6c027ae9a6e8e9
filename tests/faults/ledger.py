"""Ledgers outside of the service: lines of JSON that are on disk before anything else happens.

Every line has `at_ns`, the machine's monotonic time, so that the ledgers of several processes can be laid side by side.
"""

import json
import os
import time


class Ledger:
    """Appends lines. Several processes may write one file."""

    def __init__(self, path, *, echo=None):
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._echo = echo

    def write(self, **entry):
        line = json.dumps({**entry, "at_ns": time.monotonic_ns()}) + "\n"
        os.write(self._descriptor, line.encode())
        os.fsync(self._descriptor)
        if self._echo is not None:
            self._echo.write(line)
            self._echo.flush()

    def close(self):
        os.close(self._descriptor)


def read_ledger(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
