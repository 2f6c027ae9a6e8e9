"""Whether a caller that was let in would be let in still: what was revoked or blocked meanwhile says no.

A call that waited is answered only to a caller of whom that is true, and what it did stays done.
"""

from __future__ import annotations

from service.admission.addresses import AddressBook
from service.admission.tokens import Caller
from service.api.authentication import current_caller, refusal_of_revoked
from service.domain.errors import Basis, Denied, DomainError
from service.domain.revocations import Revocations
from service.engine.address_blocks import AddressBlocks
from service.engine.timers import Clock

REVOKING = "/podium.v1.AccessService/RevokeCredentials"
"""Whoever revokes what they call with is told that it is done."""


class Standing:
    """Of all callers."""

    def __init__(self, revocations: Revocations, blocks: AddressBlocks, book: AddressBook, clock: Clock) -> None:
        self._revocations = revocations
        self._blocks = blocks
        self._book = book
        self._clock = clock

    @property
    def revision(self) -> int:
        """Grows when something is revoked or blocked: as long as it has not, nobody has to be asked about."""
        return self._revocations.revision + self._blocks.revision

    def refusal_of(self, caller: Caller) -> DomainError | None:
        """What a caller would be refused with; None: nothing."""
        hit = self._revocations.find(caller.tenant, caller.authority)
        if hit is not None:
            return refusal_of_revoked(hit)
        address, now_us = caller.authority.principal.address, self._clock.now_us()
        rule = self._book.refusing_at_the_door(address, now_us) or self._book.refusing(caller.tenant, address, now_us)
        return Denied("ADDRESS_BLOCKED", "this address may not call", basis=Basis(rule=rule)) if rule else None

    def check(self, method: str, since: int) -> None:
        """Raise what refuses the current caller, if something was revoked or blocked since a revision."""
        if since != self.revision and method != REVOKING:
            refusal = self.refusal_of(current_caller())
            if refusal is not None:
                raise refusal
