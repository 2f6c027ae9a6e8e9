"""By which right a process writes a shard, for whoever asks how the service is."""

from __future__ import annotations

from typing import NamedTuple


class Tenure(NamedTuple):
    """By which right a process writes a shard."""

    owner: str
    """The process, by machine and id."""
    epoch: int
    """Each opening has a higher one."""
    lease_expires_at_us: int
    """When another may take the shard unless the lease is renewed, microseconds since the Unix epoch; 0: never."""
