"""The parts of access put together: whose word counts, what it allows, how often, and from where.

Made before the log is open, because the address to listen on is taken first; until `load` has folded the streams of
access, the built-in policy is in force and no request gets past the guard of ownership.
"""

from __future__ import annotations

from service.domain.permissions import DEFAULT_POLICY, Policy
from store.contract import EventStore


class Access:
    """What decides about callers. Its streams are `policy`, `credentials`, `addresses`, `requests` and `tenant`."""

    async def load(self, store: EventStore) -> None:
        """Fold what is recorded about access."""

    def policy_of(self, tenant: str) -> Policy:
        """The policy of a tenant."""
        del tenant
        return DEFAULT_POLICY
