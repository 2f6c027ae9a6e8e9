"""How a pool of connections is used: counted where connections are asked for, opened and given back."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A pool at one moment, and since it was made."""

    name: str
    size: int
    """How many connections there are at most."""
    in_use: int
    """How many are used right now."""
    waited: int
    """Uses that found all of them taken."""
    opened: int
    """Connections that were made."""
    reused: int
    """Uses of a connection that was there already."""

    def __str__(self) -> str:
        uses = f"{self.waited} waited, {self.opened} opened, {self.reused} reused"
        return f"pool {self.name}: {self.in_use} of {self.size} in use, {uses}"


class PoolUse:
    """Counts the use of one pool. Any thread may."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._lock = threading.Lock()
        self._in_use = self._waited = self._opened = self._reused = 0

    def asked(self) -> None:
        """Somebody wants a connection, and waits if all are taken."""
        with self._lock:
            self._waited += self._in_use >= self._size

    def taken(self) -> None:
        """Somebody has a place in the pool."""
        with self._lock:
            self._in_use += 1

    def opened(self) -> None:
        """A connection was made."""
        with self._lock:
            self._opened += 1

    def reused(self) -> None:
        """Whoever has a place uses a connection that was there."""
        with self._lock:
            self._reused += 1

    def given_back(self) -> None:
        """The place is free again."""
        with self._lock:
            self._in_use -= 1

    def statistics(self) -> PoolStatistics:
        """Returns the figures of this moment."""
        with self._lock:
            return PoolStatistics(self._name, self._size, self._in_use, self._waited, self._opened, self._reused)
