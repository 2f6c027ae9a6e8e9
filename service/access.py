"""The parts of access put together: whose word counts, what it allows, how often, and from where.

Made before the log is open, because the address to listen on is taken first; until `load` has folded the streams of
access, the built-in policy is in force and no request gets past the guard of ownership.
"""

from __future__ import annotations

from service.admission.tokens import Tokens
from service.api.authentication import Authentication, Clock
from service.domain.permissions import DEFAULT_POLICY, Policy
from service.domain.revocations import Revocations
from service.engine.revoking import load_revocations
from store.contract import EventStore


class Access:
    """What decides about callers. Its streams are `policy`, `credentials`, `addresses`, `requests` and `tenant`."""

    def __init__(self) -> None:
        self.revocations = Revocations()

    async def load(self, store: EventStore) -> None:
        """Fold what is recorded about access."""
        await load_revocations(store, self.revocations)

    def authentication(self, tokens: Tokens, clock: Clock, operator_tenant: str) -> Authentication:
        """The guard of the edge that knows callers by their tokens."""
        return Authentication(tokens, clock, self.policy_of, self.revocations, operator_tenant=operator_tenant)

    def policy_of(self, tenant: str) -> Policy:
        """The policy of a tenant."""
        del tenant
        return DEFAULT_POLICY
