"""Tokens: JWTs that say who calls, for which tenant, with which roles and within which scope.

A token is accepted only with an issuer, an audience, an expiry and the algorithm of the key it names. What exactly is
wrong with a refused one is never told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from podium.v1 import value_pb2
from service.admission.token_keys import TokenKey
from service.domain.errors import Unauthenticated

ISSUER = "podium"
TOKEN_LENGTH_MAX = 8 * 1024
LIST_MAX = 256
_TEXT_LENGTH_MAX = 256
_US_PER_S = 1_000_000
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")
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

    def at(self, address: str) -> Caller:
        """The same caller, seen at a network address."""
        authority = value_pb2.Authority()
        authority.CopyFrom(self.authority)
        authority.principal.address = address
        return Caller(self.tenant, authority, self.expires_at_us)


class Tokens:
    """Makes tokens with the first key that can sign, and checks those of all keys."""

    def __init__(self, keys: Sequence[TokenKey], *, audience: str = ISSUER, leeway_s: int = 10) -> None:
        self._keys = {key.id: key for key in keys}
        if not keys or len(self._keys) != len(keys):
            raise ValueError("tokens need at least one key, and every key an id of its own")
        self._signing = next((key for key in keys if isinstance(key.material, bytes)), None)
        self._audience = audience
        self._leeway_us = leeway_s * _US_PER_S
        self._jwt = jwt.PyJWT(options=_OPTIONS)

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
        now_s = now_us // _US_PER_S
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": self._audience,
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
        _caller(claims)
        return self._jwt.encode(claims, key.material, algorithm=key.algorithm, headers={"kid": key.id})

    def verify(self, token: str, now_us: int) -> Caller:
        """Return who the token stands for.

        Raises Unauthenticated with the reason TOKEN_MISSING, TOKEN_EXPIRED or TOKEN_INVALID.
        """
        if not token:
            raise Unauthenticated("TOKEN_MISSING", "send a token as metadata: authorization: Bearer TOKEN")
        try:
            claims = self._claims(token)
            caller = _caller(claims)
            starts_at_us = _seconds(claims, "nbf", 0) * _US_PER_S
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthenticated("TOKEN_INVALID", "the token is not valid") from None
        if now_us + self._leeway_us < starts_at_us:
            raise Unauthenticated("TOKEN_INVALID", "the token is not valid")
        if now_us >= caller.expires_at_us + self._leeway_us:
            raise Unauthenticated("TOKEN_EXPIRED", "the token has expired")
        return caller

    def _claims(self, token: str) -> Mapping[str, Any]:
        if len(token) > TOKEN_LENGTH_MAX:
            raise ValueError("too long")
        key_id = jwt.get_unverified_header(token).get("kid")
        if key_id is None and len(self._keys) == 1:
            key_id = next(iter(self._keys))
        key = self._keys.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise ValueError("unknown key")
        return self._jwt.decode(
            token, key.material, algorithms=[key.algorithm], audience=self._audience, issuer=ISSUER, options=_OPTIONS
        )


def is_tenant_name(text: str) -> bool:
    """Whether a tenant may be called so."""
    return _TENANT.fullmatch(text) is not None


def _caller(claims: Mapping[str, Any]) -> Caller:
    """The caller that verified claims describe. Raises ValueError."""
    roles = claims.get("roles", [])
    if not isinstance(roles, list) or len(roles) > LIST_MAX:
        raise ValueError("roles")
    limited = "scope" in claims
    scopes = _text(claims, "scope", TOKEN_LENGTH_MAX).split()
    tenant = _text(claims, "tenant") or "default"
    subject = _text(claims, "sub")
    if not subject or not is_tenant_name(tenant) or len(scopes) > LIST_MAX:
        raise ValueError("sub, tenant or scope")
    principal = value_pb2.Principal(
        subject=subject,
        agent=_text(claims, "agent"),
        on_behalf_of=_text(claims, "on_behalf_of"),
        session_id=_text(claims, "sid"),
        token_id=_text(claims, "jti"),
    )
    names = [_checked(role, _TEXT_LENGTH_MAX) for role in roles]
    authority = value_pb2.Authority(principal=principal, roles=names, scopes=scopes, limited=limited)
    return Caller(tenant, authority, _seconds(claims, "exp", None) * _US_PER_S)


def _text(claims: Mapping[str, Any], name: str, length_max: int = _TEXT_LENGTH_MAX) -> str:
    return _checked(claims.get(name, ""), length_max)


def _checked(value: object, length_max: int) -> str:
    if not isinstance(value, str) or len(value) > length_max:
        raise ValueError("a claim is no text, or too long")
    return value


def _seconds(claims: Mapping[str, Any], name: str, default: int | None) -> int:
    """A time in whole seconds since the Unix epoch."""
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 43:
        raise ValueError(name)
    return int(value)
