"""Tokens: JWTs that say who calls, for which tenant, with which roles and within which scope.

A token is accepted only with an issuer, an audience, an expiry and the algorithm of the key it names. What exactly is
wrong with a refused one is never told.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jwt

from podium.v1 import value_pb2
from service.admission.token_claims import (
    US_PER_S,
    TokenRules,
    authority_of,
    micros,
    seconds,
    session_ends_at_us,
    tenant_of,
)
from service.admission.token_keys import TokenKey
from service.domain.errors import Unauthenticated

TOKEN_LENGTH_MAX = 8 * 1024
_PARTS = 3
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""What a token may call itself. One that was made for something else (a logout, a proof) opens nothing here."""
_OPTIONS: jwt.types.Options = {
    "require": ["exp", "iss", "aud", "sub"],
    "enforce_minimum_key_length": True,
    # The clock is the service's own and not the library's; so the times are checked here.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `authority` is shared by all calls with the same token: copy it before changing it."""

    tenant: str
    authority: value_pb2.Authority
    expires_at_us: int
    ends_at_us: int = 0
    """When the token is not accepted any more, with the leeway; what it opened ends then."""
    ends_because: str = "TOKEN_EXPIRED"
    """With which reason it is refused then."""

    def at(self, address: str) -> Caller:
        """The same caller, seen at a network address."""
        authority = value_pb2.Authority()
        authority.CopyFrom(self.authority)
        authority.principal.address = address
        return replace(self, authority=authority)


class RemoteKeys(Protocol):
    """Keys that are published elsewhere, as far as they are known."""

    @property
    def revision(self) -> int:
        """Raised whenever a key that was known is not any more, or is another."""

    def find(self, key_id: str) -> TokenKey | None:
        """The key of this id. One that is not known is asked for, in the background."""


class Tokens:
    """Makes tokens with the first key that can sign, and checks those of all keys."""

    def __init__(
        self, keys: Sequence[TokenKey], rules: TokenRules | None = None, *, remote: RemoteKeys | None = None
    ) -> None:
        self._keys = {key.id: key for key in keys}
        if not (keys or remote) or len(self._keys) != len(keys):
            raise ValueError("tokens need at least one key, and every key an id of its own")
        self._signing = next((key for key in keys if isinstance(key.material, bytes)), None)
        self._rules = rules or TokenRules()
        self._leeway_us = self._rules.leeway_s * US_PER_S
        self._remote = remote
        self._jwt = jwt.PyJWT(options=_OPTIONS)

    @property
    def revision(self) -> int:
        """Raised whenever a token that was verified may not be accepted any more for its key."""
        return self._remote.revision if self._remote is not None else 0

    def mint(  # noqa: PLR0913 - the claims of a token
        self,
        *,
        now_us: int,
        lifetime_s: int,
        subject: str,
        token_id: str,
        tenant: str = "default",
        roles: Sequence[str] = (),
        scopes: Sequence[str] | None = None,
        agent: str = "",
        session_id: str = "",
        on_behalf_of: str = "",
    ) -> str:
        """Make a token. `scopes` limit what the roles grant; None: they do not.

        Raises ValueError for claims that `verify` would refuse, or when only public keys are configured.
        """
        key = self._signing
        if key is None or not isinstance(key.material, bytes):
            raise ValueError("tokens cannot be made here: only public keys are configured")
        now_s = now_us // US_PER_S
        claims: dict[str, Any] = {
            "iss": self._rules.issuers[0],
            "aud": self._rules.audience,
            "iat": now_s,
            "exp": now_s + lifetime_s,
            "sub": subject,
            "tenant": tenant,
            "roles": list(roles),
            "jti": token_id,
        }
        if scopes is not None:
            if any(not scope or " " in scope for scope in scopes):
                raise ValueError("a scope is a word without spaces")
            claims["scope"] = " ".join(scopes)
        optional = {"agent": agent, "sid": session_id, "on_behalf_of": on_behalf_of}
        claims |= {name: text for name, text in optional.items() if text}
        self._caller(claims)
        return self._jwt.encode(claims, key.material, algorithm=key.algorithm, headers={"kid": key.id})

    def verify(self, token: str, now_us: int) -> Caller:
        """Return who the token stands for.

        Raises Unauthenticated with the reason TOKEN_MISSING, TOKEN_EXPIRED, SESSION_TOO_OLD or TOKEN_INVALID.
        """
        if not token:
            raise Unauthenticated("TOKEN_MISSING", "send a token as metadata: authorization: Bearer TOKEN")
        try:
            claims = self._claims(token)
            caller = self._caller(claims)
            starts_at_us = max(seconds(claims, "nbf", 0) * US_PER_S, micros(claims, "iat", 0))
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated("TOKEN_INVALID", "the token is not valid") from None
        if now_us + self._leeway_us < starts_at_us:
            raise Unauthenticated("TOKEN_INVALID", "the token is not valid")
        if now_us >= caller.ends_at_us:
            raise ended(caller)
        return caller

    def _claims(self, token: str) -> Mapping[str, Any]:
        if len(token) > TOKEN_LENGTH_MAX:
            raise ValueError("too long")
        header = _header(token)
        key_id = header.get("kid")
        if key_id is None and len(self._keys) == 1 and self._remote is None:
            key_id = next(iter(self._keys))
        key = self._key(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise ValueError("unknown key")
        return self._jwt.decode(
            token,
            key.material,
            algorithms=[key.algorithm],
            audience=self._rules.audience,
            issuer=self._rules.issuers,
            options=_OPTIONS,
        )

    def _key(self, key_id: str) -> TokenKey | None:
        key = self._keys.get(key_id)
        return self._remote.find(key_id) if key is None and self._remote is not None else key

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        """The caller that verified claims describe. Raises ValueError."""
        expires_at_us = seconds(claims, "exp", None) * US_PER_S
        ends_at_us, because = expires_at_us, "TOKEN_EXPIRED"
        session_end_us = session_ends_at_us(claims, self._rules)
        if session_end_us is not None and session_end_us < expires_at_us:
            ends_at_us, because = session_end_us, "SESSION_TOO_OLD"
        authority = authority_of(claims, self._rules)
        return Caller(tenant_of(claims), authority, expires_at_us, ends_at_us + self._leeway_us, because)


def ended(caller: Caller) -> Unauthenticated:
    """The refusal of a caller whose token is over."""
    if caller.ends_because == "SESSION_TOO_OLD":
        return Unauthenticated("SESSION_TOO_OLD", "the session is too old: authenticate anew")
    return Unauthenticated("TOKEN_EXPIRED", "the token has expired")


def _header(token: str) -> Mapping[str, Any]:
    """The header of a token of plain form. Raises ValueError.

    Where a name comes twice, or the header asks for more than is understood, two readers could differ about the token.
    """
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise ValueError("no JWT")
    header, _ = _parsed(parts[0]), _parsed(parts[1])
    if "crit" in header or str(header.get("typ", "JWT")).lower() not in _TYPES:
        raise ValueError("crit or typ")
    return header


def _parsed(part: str) -> dict[str, Any]:
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    parsed = json.loads(data, object_pairs_hook=_unique)
    if not isinstance(parsed, dict):
        raise ValueError("no object")  # noqa: TRY004 - all that is wrong with a token is a ValueError
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name comes twice")
    return names
