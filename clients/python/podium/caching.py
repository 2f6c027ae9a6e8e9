"""How the service caches a tool's results, as the tool's author says it."""

from __future__ import annotations

from dataclasses import dataclass

from podium.durations import Duration, milliseconds
from podium.v1 import definition_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """`@app.tool(read_only=True, caching=podium.Caching(ttl="5m"))`: kept by the service, for read-only tools alone."""

    ttl: Duration
    """How long a result is fresh. One of its own is said with `ctx.cache_for`."""
    stale: Duration = 0.0
    """How long after that it still serves a step that falls back on it."""
    shared: bool = False
    """A result is the same for every subject of the tenant. Otherwise each subject has its own."""

    def message(self) -> definition_pb2.Caching:
        """Returns it as the contract writes it. Raises ValueError."""
        ttl_ms = milliseconds(self.ttl)
        if not ttl_ms:
            raise ValueError("a cached result is fresh for more than 0 s; leave caching out to cache nothing")
        return definition_pb2.Caching(ttl_ms=ttl_ms, stale_ms=milliseconds(self.stale), shared=self.shared)
