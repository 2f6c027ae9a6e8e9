"""The settings by which callers prove who they are, and what is wrong with them; service.config reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

_ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})
_CLAIMS_MAX = 16


@dataclass(frozen=True, slots=True)
class PublicKeyFile:
    """A public key in PEM with which others sign tokens."""

    id: str
    algorithm: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> PublicKeyFile:
        """Read ID=ALGORITHM:PATH. Raises ValueError."""
        key_id, _, rest = text.partition("=")
        algorithm, _, path = rest.partition(":")
        if not key_id or not path or algorithm not in _ALGORITHMS:
            raise ValueError(
                f"has {text!r}, which is not ID=ALGORITHM:PATH with one of {', '.join(sorted(_ALGORITHMS))}"
            )
        return cls(key_id, algorithm, Path(path))


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """How callers prove who they are."""

    token_key_file: Path | None = None
    """The service's own key, made when it is missing; unset: token.key in the state directory."""
    token_public_keys: tuple[PublicKeyFile, ...] = ()
    """ID=ALGORITHM:PATH, in the environment several joined by commas. With any, the service's own key is not used."""
    token_jwks_url: str = field(default="", repr=False)
    """Where an issuer publishes its keys, https unless on this machine. With it, the service's own key is not used."""
    token_jwks_refresh_s: int = 300
    """How often they are fetched."""
    token_jwks_cooldown_s: int = 10
    """A token with a key that is not known has them fetched sooner, but at most once in so long."""
    token_jwks_grace_s: int = 300
    """How long a key that is not published any more is still accepted."""
    token_issuer: tuple[str, ...] = ("podium",)
    """Who may have issued a token, in the environment joined by commas. The service's own tokens are of the first."""
    token_audience: str = "podium"  # noqa: S105 - no secret
    """For whom a token must be."""
    token_leeway_s: int = 10
    """How far the clocks of issuers may differ from this one."""
    token_roles_claim: str = "roles"  # noqa: S105 - no secret
    """The claim that lists the roles; a dotted path leads into objects."""
    token_claims: tuple[str, ...] = ()
    """Further claims that are recorded with what a token submits, for the conditions of policies."""
    session_max_age_s: int = 0
    """Tokens of a session (sid) that began longer ago are refused; 0: never."""

    @property
    def made_here(self) -> bool:
        """Whether the service's own key makes and checks the tokens."""
        return not self.token_public_keys and not self.token_jwks_url


def token_problems(tokens: TokenSettings) -> Iterator[str]:
    """What is wrong with the settings of tokens, one line each."""
    for name in ("leeway_s", "jwks_grace_s"):
        if getattr(tokens, f"token_{name}") < 0:
            yield f"PODIUM_TOKEN_{name.upper()} must not be negative"
    if not 1 <= tokens.token_jwks_cooldown_s <= tokens.token_jwks_refresh_s:
        yield "PODIUM_TOKEN_JWKS_COOLDOWN_S must be from 1 to PODIUM_TOKEN_JWKS_REFRESH_S"
    if tokens.session_max_age_s < 0:
        yield "PODIUM_SESSION_MAX_AGE_S must not be negative"
    if not all(tokens.token_issuer):
        yield "PODIUM_TOKEN_ISSUER has an empty name"
    if not all(tokens.token_claims) or len(tokens.token_claims) > _CLAIMS_MAX:
        yield f"PODIUM_TOKEN_CLAIMS names at most {_CLAIMS_MAX} claims, and none of them is empty"
    if tokens.token_jwks_url:
        yield from _jwks_url(tokens.token_jwks_url)


def _jwks_url(url: str) -> Iterator[str]:
    # The address is not repeated: it may hold a password.
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        yield "PODIUM_TOKEN_JWKS_URL is no address"
        return
    if parts.scheme not in ("https", "http") or not host or parts.username is not None or port == 0 or not _plain(url):
        yield "PODIUM_TOKEN_JWKS_URL is no address https://host/path without a user"
    elif parts.scheme == "http" and not is_loopback(host):
        yield "PODIUM_TOKEN_JWKS_URL must begin with https://: whoever is between could publish keys of their own"


def _plain(url: str) -> bool:
    """Whether it may stand in a request as it is."""
    return url.isascii() and url.isprintable() and " " not in url


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
