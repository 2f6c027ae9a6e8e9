"""The lock file beside a database: at most one process writes it.

The operating system releases the lock when the process ends, however it ends, so a file that is left behind
locks nobody out.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from store.contract import DatabaseInUseError, StoreError


class LockFile:
    """Exclusive ownership of a database file, from `acquire` to `release`."""

    def __init__(self, database: Path) -> None:
        # Two names of one file must lead to one lock.
        self._database = database.resolve()
        self.path = self._database.with_name(self._database.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise DatabaseInUseError, which names the file and the process that holds it."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open the lock file {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise StoreError(f"cannot lock {self.path}: {error.strerror}") from error
            by = f"process {holder}" if holder else "another process"
            raise DatabaseInUseError(f"{self._database} is in use: {by} holds {self.path}") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the lock. The file stays: removing it could take away a lock that another just took."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
