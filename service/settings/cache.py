"""The settings of the result cache, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from service.settings.ports import ENCODED, PORT_MAX, host_port, is_port

_MIB = 1024 * 1024
_PLAIN, _WITH_TLS = ("redis", "valkey"), ("rediss", "valkeys")
_PORT = 6379


@dataclass(frozen=True, slots=True, repr=False)
class RemotePlace:
    """Where the remote cache is. Shown without credentials."""

    host: str
    port: int
    database: int
    user: str
    password: str
    tls: bool

    def __str__(self) -> str:
        scheme = "rediss" if self.tls else "redis"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}/{self.database}"

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How many results of read-only tools are kept, and where."""

    tenant_entries: int = 10_000
    """Results of a tenant in memory; of more, the least recently used are forgotten."""
    tenant_bytes: int = 64 * _MIB
    """Bytes of a tenant's results in memory."""
    entries: int = 100_000
    """Results of all tenants together in memory."""
    size_bytes: int = 256 * _MIB
    """Bytes of the results of all tenants together in memory."""
    url: str = field(default="", repr=False)
    """redis://user:password@host:port/database keeps results beside memory, in Redis or Valkey; rediss:// with TLS."""
    timeout_ms: int = 50
    """How long the remote cache may take; what takes longer is a miss."""

    @property
    def remote(self) -> RemotePlace | None:
        """Where the remote cache is; None: there is none. Raises ValueError, without repeating what may be secret."""
        if not self.url:
            return None
        parts, host, port = self._host_and_port()
        if parts.scheme not in (*_PLAIN, *_WITH_TLS):
            raise ValueError("begins with none of redis: rediss: valkey: valkeys:")
        if not host:
            raise ValueError("names no host")
        database = parts.path.strip("/") or "0"
        if not database.isdecimal() or parts.query or parts.fragment:
            raise ValueError("ends with something else than the number of a database, for example /0")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return RemotePlace(host, port, int(database), user, password, parts.scheme in _WITH_TLS)

    def _host_and_port(self) -> tuple[SplitResult, str | None, int]:
        """The address in its parts. Raises ValueError, which tells a wrong port from a special character."""
        try:
            parts = urlsplit(self.url)
            host = parts.hostname
        except ValueError:
            raise ValueError(f"is no address: {ENCODED}") from None
        # What stands for the port is not repeated: it may be the beginning of a password.
        if "@" in parts.path + parts.query + parts.fragment:
            raise ValueError(f"is no address: {ENCODED}")
        port = host_port(parts.netloc)
        if port and not is_port(port):
            raise ValueError(f"has a port that is none: a port is from 1 to {PORT_MAX}, and 6379 without one")
        return parts, host, int(port) if port else _PORT


def cache_problems(settings: CacheSettings) -> Iterator[str]:
    """What is wrong with the settings, a line each."""
    numbers = {
        "TENANT_ENTRIES": settings.tenant_entries,
        "TENANT_BYTES": settings.tenant_bytes,
        "ENTRIES": settings.entries,
        "SIZE_BYTES": settings.size_bytes,
        "TIMEOUT_MS": settings.timeout_ms,
    }
    for name, number in numbers.items():
        if number < 1:
            yield f"PODIUM_CACHE_{name} must be at least 1"
    try:
        _ = settings.remote
    except ValueError as error:
        yield f"PODIUM_CACHE_URL {error}"
