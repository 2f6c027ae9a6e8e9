"""The parts of resilience put together: what is cached, when a failing tool is left alone, how much runs at once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from service.admission.breaker import BreakerGuard
from service.admission.breaker_book import BreakerBook
from service.admission.bulkhead import BulkheadGuard
from service.admission.guards import Guard, Ledger, StaleResults
from service.domain.permissions import Policy
from service.engine.breakers import Breakers
from service.engine.executor_bounds import ExecutorBounds
from service.engine.result_caching import ResultCaching
from service.engine.timers import Clock
from service.settings.cache import CacheSettings
from store.contract import EventStore


class Resilience:
    """What decides about attempts that may be made. Its streams are `breaker/TOOL`, `cache` and `health/TOOL`."""

    def __init__(
        self,
        policy_of: Callable[[str], Policy],
        clock: Clock,
        chance: Callable[[], float],
        *,
        cache: CacheSettings,
        spawn: Callable[[Coroutine[Any, Any, object]], None],
        master_key: bytes,
    ) -> None:
        """`chance` is a random number in [0, 1)."""
        self.policy_of = policy_of
        self.clock = clock
        self.ledger = Ledger()
        self.cache = ResultCaching(cache, policy_of, clock=clock, spawn=spawn, master_key=master_key)
        self.bulkheads = BulkheadGuard(policy_of, chance)
        self.executor_bounds = ExecutorBounds(policy_of)
        book = BreakerBook(policy_of)
        self._breaker_guard = BreakerGuard(book, self.ledger, chance)
        self.breakers = Breakers(book, self._breaker_guard, clock)

    async def load(self, store: EventStore) -> None:
        """Find again what the log says of it."""
        await self.cache.load(store)
        await self.breakers.load(store)

    async def drain(self) -> None:
        """Record what was only counted so far, and let go what is outside of the service."""
        await self.cache.drain()

    def guards(self) -> Sequence[Guard]:
        """Cache, bulkheads, breakers: in the order in which they are asked, behind all that may deny."""
        return [self.cache.guard, self.bulkheads, self._breaker_guard]

    def policy_changed(self, tenant: str) -> None:
        """Another policy of a tenant is in force: those who wait may not have to any more."""
        self.cache.guard.policy_changed(tenant)
        self.bulkheads.policy_changed(tenant)
        self._breaker_guard.policy_changed(tenant)

    def stale_results(self) -> StaleResults:
        """What steps fall back on that take an old result."""
        return self.cache.guard
