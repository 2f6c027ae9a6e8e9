"""The lease on a shard in Postgres: how long this process may answer from memory, and how it learns that it may not.

Every append renews the lease with the database's clock; the keeper renews it when nothing is appended. This process
counts by its own monotonic clock from before it asked, and stops a margin earlier, so that its lease is never the
longer one. The epoch protects the log whatever the clocks do; the lease only protects those who read live state.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import asyncpg

from store.backend import OnLost
from store.contract import OwnershipLostError
from store.postgres_engine import UNREACHABLE, address_of, connect, reason_of

_logger = logging.getLogger(__name__)

_RENEW = (
    "UPDATE shards SET lease_expires_at_us = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $2 "
    "WHERE shard = $1 AND owner = $3 RETURNING shard"
)
_US = 1_000_000


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long things may take, in seconds."""

    duration_s: float = 10.0
    """How long a lease lasts after it was renewed."""
    margin_s: float = 2.0
    """How much earlier this process stops to answer from memory: what clocks may differ by in that time, and more."""
    statement_s: float = 10.0
    """How long a statement may take before its connection is given up."""
    away_s: float = 60.0
    """How long the database may be away before the store fails."""

    @property
    def duration_us(self) -> int:
        """How long a lease lasts, in microseconds."""
        return round(self.duration_s * _US)


class Lease:
    """What this process knows of its lease. Times are those of the loop's monotonic clock."""

    def __init__(self, times: LeaseTimes) -> None:
        self.times = times
        self._renewed_at: float | None = None

    @staticmethod
    def now() -> float:
        """The time, to be taken before the database is asked."""
        return asyncio.get_running_loop().time()

    def renewed(self, asked_at: float) -> None:
        """The database has renewed the lease for someone who asked at that time."""
        self._renewed_at = asked_at if self._renewed_at is None else max(asked_at, self._renewed_at)

    @property
    def is_held(self) -> bool:
        """Whether it has not ended yet, by a margin."""
        renewed_at = self._renewed_at
        return renewed_at is not None and self.now() < renewed_at + self.times.duration_s - self.times.margin_s

    @property
    def left_s(self) -> float:
        """How long it lasts still; not more than 0: it has ended."""
        return (self._renewed_at or 0.0) + self.times.duration_s - self.now()

    @property
    def idle_s(self) -> float:
        """How long ago it was renewed."""
        return self.now() - (self._renewed_at or 0.0)


class LeaseKeeper:
    """Renews a lease while nothing is appended, and listens for whoever takes the shard."""

    def __init__(self, url: str, shard: int, owner: str, lease: Lease, on_lost: OnLost) -> None:
        self._url = url
        self._shard = shard
        self._owner = owner
        self._lease = lease
        self._on_lost = on_lost
        self._taken = asyncio.Event()
        # As the writer's: nobody's failure may cancel it.
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="lease-keeper")

    @staticmethod
    def channel(shard: int) -> str:
        """Where an owner is told that the shard has another. A hint: who misses it finds out by the next renewal."""
        return f"podium_shard_{shard}"

    async def stop(self) -> None:
        """Renew no more."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _keep(self) -> None:
        connection: asyncpg.Connection | None = None
        try:
            while True:
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._listen()
                    if await self._is_lost(connection):
                        self._on_lost(OwnershipLostError(f"shard {self._shard} was taken by another process"))
                        return
                except UNREACHABLE as error:
                    # The lease runs out, and nobody reads live state until the database is back.
                    _logger.warning("cannot renew the lease on %s: %s", address_of(self._url), reason_of(error))
                    _drop(connection)
                    connection = None
                await self._pause()
        finally:
            _drop(connection)

    async def _listen(self) -> asyncpg.Connection:
        within_s = self._lease.times.duration_s / 3
        connection = await connect(
            self._url, application_name="podium lease", timeout_s=within_s, lock_timeout_s=within_s
        )
        try:
            await connection.add_listener(self.channel(self._shard), self._hear)
            # Whoever took the shard before this was heard by nobody, so it is asked once.
            self._taken.set()
        except BaseException:
            _drop(connection)
            raise
        return connection

    def _hear(self, _connection: object, _pid: int, _channel: str, owner: object) -> None:
        if owner != self._owner:
            self._taken.set()

    async def _is_lost(self, connection: asyncpg.Connection) -> bool:
        times = self._lease.times
        if not self._taken.is_set() and self._lease.idle_s < times.duration_s / 3:
            return False
        self._taken.clear()
        asked_at = self._lease.now()
        async with asyncio.timeout(times.duration_s / 3):
            row = await connection.fetchrow(_RENEW, self._shard, times.duration_us, self._owner)
        if row is not None:
            self._lease.renewed(asked_at)
        return row is None

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._lease.times.duration_s / 3):
                await self._taken.wait()
        except TimeoutError:
            return


def _drop(connection: asyncpg.Connection | None) -> None:
    if connection is not None:
        connection.terminate()
