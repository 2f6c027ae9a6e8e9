"""Revocations: which credentials are not accepted any more, folded from what was recorded.

What was revoked stays revoked. A subject's revocation speaks of the tokens that were issued until then, so that whoever
gets a new one may go on; a token that does not say when it was issued counts as an old one. An issuer's clock may be
ahead by the leeway of tokens, so that much later still counts as until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from podium.v1 import events_pb2, value_pb2

KINDS = {"token_id": "token", "session_id": "session", "subject": "subject"}
"""The fields that name a credential, and what it is."""


class Revocation(NamedTuple):
    """One of them."""

    kind: str
    """token, session or subject."""
    name: str
    reason: str
    revoked_at_us: int
    revoked_by: value_pb2.Principal
    position: int
    """Of the event."""

    @property
    def rule(self) -> str:
        """What decisions name it by."""
        return f"revoked:{self.kind}"


class Revocations:
    """What was revoked, of all tenants."""

    def __init__(self, leeway_us: int = 0) -> None:
        """`leeway_us` is how far the clock of an issuer may be ahead."""
        self._leeway_us = leeway_us
        self.revision = 0
        """Raised by one with every revocation: what was decided before must be decided again."""
        self._found: dict[str, dict[tuple[str, str], Revocation]] = {}
        self._listed: dict[str, list[Revocation]] = {}
        self._coming: dict[str, list[Revocation]] = {}

    def add(
        self,
        tenant: str,
        event: events_pb2.CredentialsRevoked,
        *,
        revoked_at_us: int,
        revoked_by: value_pb2.Principal,
        position: int,
    ) -> Revocation:
        """Fold an event. Of two that name the same, the later counts."""
        field = event.WhichOneof("credential")
        if field is None:
            raise ValueError("a revocation names no credential")
        revocation = Revocation(KINDS[field], getattr(event, field), event.reason, revoked_at_us, revoked_by, position)
        self._found.setdefault(tenant, {})[revocation.kind, revocation.name] = revocation
        self._listed.setdefault(tenant, []).append(revocation)
        self.revision += 1
        return revocation

    def announce(self, tenant: str, event: events_pb2.CredentialsRevoked, by: value_pb2.Principal) -> Revocation:
        """Take note of one that is on its way to the log: whatever is decided from now on stands behind it there."""
        field = event.WhichOneof("credential")
        if field is None:
            raise ValueError("a revocation names no credential")
        coming = Revocation(KINDS[field], getattr(event, field), event.reason, 0, by, 0)
        self._coming.setdefault(tenant, []).append(coming)
        return coming

    def arrived(self, tenant: str, coming: Revocation) -> None:
        """An announced one is in the log, or failed."""
        self._coming[tenant].remove(coming)
        if not self._coming[tenant]:
            del self._coming[tenant]

    def find_with_coming(self, tenant: str, authority: value_pb2.Authority) -> Revocation | None:
        """As `find`, and those that are on their way."""
        if tenant in self._coming:
            principal = authority.principal
            names = {"token": principal.token_id, "session": principal.session_id, "subject": principal.subject}
            for coming in self._coming[tenant]:
                if names[coming.kind] == coming.name:
                    return coming
        return self.find(tenant, authority)

    def of_tenant(self, tenant: str) -> Sequence[Revocation]:
        """All of a tenant's, the oldest first."""
        return self._listed.get(tenant, ())

    def named(self, tenant: str, kind: str, name: str) -> Revocation | None:
        """The newest that names a credential."""
        return self._found.get(tenant, {}).get((kind, name))

    def find(self, tenant: str, authority: value_pb2.Authority) -> Revocation | None:
        """The revocation that hits an authority; None: there is none."""
        found = self._found.get(tenant)
        if found is None:
            return None
        principal = authority.principal
        hit = found.get(("token", principal.token_id)) or found.get(("session", principal.session_id))
        if hit is not None:
            return hit
        hit = found.get(("subject", principal.subject))
        if hit is None or authority.issued_at_us > hit.revoked_at_us + self._leeway_us:
            return None
        return hit
