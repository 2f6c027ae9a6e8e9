"""The parts of resilience put together: what is cached, when a failing tool is left alone, how much runs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.admission.breaker import BreakerGuard
from service.admission.breaker_book import BreakerBook
from service.admission.pipeline import Guard, Ledger, WaitingLine
from service.domain.permissions import Policy
from service.engine.breakers import Breakers
from service.engine.timers import Clock
from store.contract import EventStore


class Resilience:
    """What decides about attempts that may be made. Its streams are `breaker/TOOL`, `cache` and `health/TOOL`."""

    def __init__(self, policy_of: Callable[[str], Policy], clock: Clock, chance: Callable[[], float]) -> None:
        """`chance` is a random number in [0, 1)."""
        self.policy_of = policy_of
        self.clock = clock
        self.ledger = Ledger()
        book = BreakerBook(policy_of)
        self._breaker_guard = BreakerGuard(book, self.ledger, chance)
        self.breakers = Breakers(book, self._breaker_guard, clock)

    async def load(self, store: EventStore) -> None:
        """Find again what the log says of it."""
        await self.breakers.load(store)

    def guards(self) -> Sequence[Guard]:
        """Cache, bulkheads, breakers: in the order in which they are asked, behind all that may deny."""
        return [self._breaker_guard]

    def on_room(self, wake: Callable[[WaitingLine], None]) -> None:
        """Have somebody told of a line whose first may be let through now."""
        self._breaker_guard.on_room(wake)
