"""The parts of access put together: whose word counts, what it allows, how often, and from where.

Made before the log is open, because the address to listen on is taken first; until `load` has folded the streams of
access, the built-in policy is in force and no request gets past the guard of ownership.
"""

from __future__ import annotations

from service.domain.permissions import Policy
from service.engine.policies import Policies
from service.engine.policy_expressions import PolicyExpressions
from store.contract import EventStore


class Access:
    """What decides about callers. Its streams are `policy`, `credentials`, `addresses`, `requests` and `tenant`."""

    def __init__(self, *, condition_bytes: int) -> None:
        """`condition_bytes` bounds a condition of a policy."""
        self.policies = Policies(PolicyExpressions(text_limit_bytes=condition_bytes))

    async def load(self, store: EventStore) -> None:
        """Fold what is recorded about access."""
        await self.policies.load(store)

    def policy_of(self, tenant: str) -> Policy:
        """The policy of a tenant."""
        return self.policies.policy_of(tenant)
