"""How much may wait for the writer of the log, and how much it commits at once."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """The bounds of the writer."""

    queue_length: int = field(default=100_000)
    """Units (appends, chunks, payloads) that may wait; beyond it they are refused with QueueFullError at once."""
    queue_bytes: int = field(default=64 << 20)
    """Bytes of chunks and payloads that may wait; beyond it they are refused likewise."""
    group_events: int = field(default=4096)
    """Events and chunks a group commit may hold; a larger append goes alone."""
    group_bytes: int = field(default=8 << 20)
    """Bytes of chunks and payloads a group commit may hold, so that they do not delay the appends beside them."""
    cached_streams: int = field(default=100_000)
    """Streams whose versions the writer keeps in memory; for any other, an append costs a look-up."""
    linger_s: float = field(default=0.002)
    """How long a group commit waits for more when more is expected than what is queued."""
