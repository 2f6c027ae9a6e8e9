"""What the claims of a verified token mean: an authority, its tenant, and the times it is bound to.

A claim of another kind than it should be, or over its limit, refuses the token: what is left out could be what a policy
forbids by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from podium.v1 import value_pb2

ISSUER = "podium"
TEXT_LENGTH_MAX = 256
LIST_MAX = 256
SCOPE_LENGTH_MAX = 8 * 1024
CLAIM_BYTES_MAX = 1024
"""Of a claim that is kept: it is recorded with every step that is submitted under the token."""
US_PER_S = 1_000_000
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What the service asks of a token, and what it keeps of it."""

    issuers: tuple[str, ...] = (ISSUER,)
    """Who may have issued it. The service's own tokens are of the first."""
    audience: str = ISSUER
    leeway_s: int = 10
    kept_claims: tuple[str, ...] = ()
    """Further claims that conditions of policies may read."""
    roles_claim: str = "roles"
    """The claim that lists the roles; a dotted path leads into objects."""
    session_max_age_s: int = 0
    """How long after its beginning a session is over; 0: it may last. A token without a session has none."""


def is_tenant_name(text: str) -> bool:
    """Whether a tenant may be called so."""
    return _TENANT.fullmatch(text) is not None


def tenant_of(claims: Mapping[str, Any]) -> str:
    """The tenant a token is for. Raises ValueError.

    One that names none belongs to nobody: an issuer that forgets the claim does not speak for the operator.
    """
    tenant = _text(claims, "tenant")
    if not is_tenant_name(tenant):
        raise ValueError("sub, tenant or scope")
    return tenant


def authority_of(claims: Mapping[str, Any], rules: TokenRules) -> value_pb2.Authority:
    """The authority that verified claims describe. Raises ValueError and TypeError."""
    subject = _text(claims, "sub")
    scopes = _text(claims, "scope", SCOPE_LENGTH_MAX).split()
    if not subject or len(scopes) > LIST_MAX:
        raise ValueError("sub, tenant or scope")
    principal = value_pb2.Principal(
        subject=subject,
        agent=_text(claims, "agent"),
        on_behalf_of=_text(claims, "on_behalf_of"),
        session_id=_text(claims, "sid"),
        token_id=_text(claims, "jti"),
    )
    return value_pb2.Authority(
        principal=principal,
        roles=_roles(claims, rules.roles_claim),
        scopes=scopes,
        limited="scope" in claims,
        claims=[_kept(name, claims[name]) for name in rules.kept_claims if name in claims],
        issued_at_us=micros(claims, "iat", 0),
    )


def session_ends_at_us(claims: Mapping[str, Any], rules: TokenRules) -> int | None:
    """When the session that a token belongs to is too old; None: never. Raises ValueError.

    It began when its user authenticated, or else when the token was issued; one that tells neither is too old already.
    """
    if not rules.session_max_age_s or not claims.get("sid"):
        return None
    began_at_us = micros(claims, "auth_time" if "auth_time" in claims else "iat", 0)
    return began_at_us + rules.session_max_age_s * US_PER_S if began_at_us else 0


def seconds(claims: Mapping[str, Any], name: str, default: int | None) -> int:
    """A time in whole seconds since the Unix epoch. Raises ValueError."""
    return micros(claims, name, default) // US_PER_S


def micros(claims: Mapping[str, Any], name: str, default: int | None) -> int:
    """A time in microseconds since the Unix epoch. Raises ValueError."""
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 43:
        raise ValueError(name)
    return int(value * US_PER_S)


def _roles(claims: Mapping[str, Any], path: str) -> list[str]:
    """The roles. A name that the claims have as a whole, dots and all, is no path."""
    found: object = claims.get(path)
    if path not in claims:
        found = claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
    if found is None:
        return []
    if not isinstance(found, list) or len(found) > LIST_MAX:
        raise ValueError("roles")
    return [_checked(role, TEXT_LENGTH_MAX) for role in found]


def _kept(name: str, value: object) -> value_pb2.Claim:
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if len(text) > CLAIM_BYTES_MAX:
        raise ValueError("a claim is too long to be kept")
    return value_pb2.Claim(name=name, value_json=text.decode())


def _text(claims: Mapping[str, Any], name: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    return _checked(claims.get(name, ""), length_max)


def _checked(value: object, length_max: int) -> str:
    if not isinstance(value, str) or len(value) > length_max:
        raise ValueError("a claim is no text, or too long")
    return value
