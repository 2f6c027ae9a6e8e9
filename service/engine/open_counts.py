"""How many workflows each tenant has open. One that begins counts before it is durable, so that a quota is exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from store.contract import OpenWorkflow


class OpenCounts:
    """Counts by tenant."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def load(self, opened: Iterable[OpenWorkflow]) -> None:
        """Begin with what the log says is open."""
        self._counts = Counter(entry.tenant for entry in opened)

    def of(self, tenant: str) -> int:
        """How many workflows of a tenant have not ended."""
        return self._counts[tenant]

    def began(self, tenant: str) -> None:
        """A workflow began, or its end was not recorded after all."""
        self._counts[tenant] += 1

    def ended(self, tenant: str) -> None:
        """A workflow ended, durably, or its beginning was not recorded after all."""
        self._counts[tenant] -= 1
        if not self._counts[tenant]:
            del self._counts[tenant]
