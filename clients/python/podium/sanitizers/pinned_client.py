"""An HTTP client that connects only to addresses a `url` sanitizer admits, also after redirects.

A name is resolved once for a connection, every answer is checked, and the connection is made to an address that was
checked: there is no second look-up that could be answered otherwise. The pool is given scheme, host, port and target as
the sanitizer read them, so no other parser has a say. No proxy is used, whatever the environment names.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import httpcore

from podium.pool_use import PoolStatistics, PoolUse
from podium.sanitizers.rejection import Rejected
from podium.sanitizers.url import Target, UrlSanitizer

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a name and a port to addresses, all of them."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEPT_METHODS = frozenset({307, 308})
_METHODS = frozenset("DELETE GET HEAD OPTIONS PATCH POST PUT".split())
# They say where a request goes and how it is framed, which is not for a caller to say.
_FORBIDDEN_HEADERS = frozenset(
    "connection content-length expect host keep-alive proxy-authorization proxy-connection te trailer "
    "transfer-encoding upgrade".split()
)
_ORDINARY_HEADERS = frozenset("accept accept-language content-type user-agent".split())
_ADDRESSES_MAX = 8
_CONNECT_SECONDS = 5
"""For each address of a host."""


class RequestFailed(Exception):
    """No answer came. The reason is UNRESOLVED, UNREACHABLE, TIMED_OUT or PROTOCOL_ERROR."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. Headers are as they were sent, names in lower case; the body is not decompressed."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    url: str
    """Where it came from in the end."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver. Raises RequestFailed."""
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise RequestFailed("UNRESOLVED", "the host has no address") from None
    return [str(address[0]) for *_, address in answers]


class PinnedClient:
    """Sends requests to what a policy allows, over a pool of connections. Close it, or use it as a context.

    Args:
        policy: What may be reached.
        resolver: How names become addresses.
        tls: Whose certificates are trusted; the system's if not given.
        connections_max: How many connections there are at once.
        idle_seconds: How long an idle connection is kept. A name may get another address meanwhile.
        redirects_max: How many redirects are followed.
    """

    def __init__(
        self,
        policy: UrlSanitizer,
        *,
        resolver: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        connections_max: int = 32,
        idle_seconds: float = 15,
        redirects_max: int = 5,
    ) -> None:
        self._policy = policy
        self._redirects_max = redirects_max
        # The pool's own queue has no figures; with as many places as connections nobody waits there.
        self._places = asyncio.Semaphore(connections_max)
        self._use = PoolUse("http", connections_max)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=connections_max,
            keepalive_expiry=idle_seconds,
            network_backend=_PinnedNetwork(policy, resolver, self._use),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the pool's connections."""
        await self._pool.aclose()

    def statistics(self) -> PoolStatistics:
        """How the connections are used."""
        return self._use.statistics()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        max_bytes: int,
        timeout: float,
    ) -> Response:
        """Send a request and read the answer, at most `max_bytes` of body within `timeout` seconds altogether.

        Raises Rejected for what is not allowed, here or where a redirect leads, and RequestFailed.
        """
        sent = _checked_headers(headers or {})
        if method not in _METHODS:
            raise Rejected("url", "HTTP_METHOD", f"must be one of {', '.join(sorted(_METHODS))}")
        try:
            async with asyncio.timeout(timeout):
                return await self._follow(method, url, sent, body, max_bytes)
        except TimeoutError:
            raise RequestFailed("TIMED_OUT", f"there was no whole answer within {timeout} s") from None
        except (httpcore.NetworkError, OSError):
            raise RequestFailed("UNREACHABLE", "the connection failed") from None
        except (httpcore.ProtocolError, ssl.CertificateError):
            raise RequestFailed("PROTOCOL_ERROR", "the other side does not speak HTTP properly") from None

    async def _follow(self, method: str, url: str, headers: dict[str, str], body: bytes, max_bytes: int) -> Response:
        target = self._policy.target(self._policy.check(url))
        for _ in range(self._redirects_max + 1):
            answer = await self._exchange(method, target, headers, body, max_bytes)
            location = next((value for name, value in answer.headers if name == "location"), None)
            if answer.status not in _REDIRECTS or location is None:
                return Response(answer.status, answer.headers, answer.body, url)
            url = self._policy.check(urljoin(url, location))
            following = self._policy.target(url)
            if target.scheme == "https" and following.scheme != "https":
                raise Rejected("url", "REDIRECT_INSECURE", "is redirected from https to http")
            if answer.status not in _KEPT_METHODS and method != "HEAD":
                method, body = "GET", b""
            if following.origin != target.origin:
                # Whatever else a caller sends may be a secret between it and the first host.
                headers = {name: value for name, value in headers.items() if name in _ORDINARY_HEADERS}
                if body:
                    raise Rejected("url", "REDIRECT_WITH_BODY", "is redirected to another host with its body")
            target = following
        raise Rejected("url", "REDIRECTS", f"is redirected more than {self._redirects_max} times")

    async def _exchange(
        self, method: str, target: Target, headers: Mapping[str, str], body: bytes, max_bytes: int
    ) -> Response:
        sent = [("host", target.authority), ("accept-encoding", "identity"), *headers.items()]
        if body or method in ("PATCH", "POST", "PUT"):
            sent.append(("content-length", str(len(body))))
        url = httpcore.URL(
            scheme=target.scheme, host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        traced = {"trace": _Reuse(self._use).hear}
        async with (
            self._place(),
            self._pool.stream(method, url, headers=sent, content=body or None, extensions=traced) as answer,
        ):
            received = bytearray()
            async for part in answer.aiter_stream():
                received += part
                if len(received) > max_bytes:
                    raise Rejected("url", "RESPONSE_TOO_LARGE", f"has an answer larger than {max_bytes} bytes")
            shown = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in answer.headers)
            return Response(answer.status, shown, bytes(received), "")

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncGenerator[None, None]:
        self._use.asked()
        async with self._places:
            self._use.taken()
            try:
                yield
            finally:
                self._use.given_back()


class _Reuse:
    """Hears from the pool what it does for one request, and counts when it had a connection for it."""

    def __init__(self, use: PoolUse) -> None:
        self._use = use
        self._is_new = False

    async def hear(self, event: str, _: object) -> None:
        if event == "connection.connect_tcp.started":
            self._is_new = True
        elif event.endswith("send_request_headers.started") and not self._is_new:
            self._use.reused()


class _PinnedNetwork(httpcore.AsyncNetworkBackend):
    """Connects the pool: to addresses that were checked a moment before, and to nothing else."""

    def __init__(self, policy: UrlSanitizer, resolver: Resolve, use: PoolUse) -> None:
        self._policy = policy
        self._resolver = resolver
        self._use = use
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._admitted(host, port)
        for address in addresses:
            try:
                stream = await self._network.connect_tcp(
                    address, port, timeout or _CONNECT_SECONDS, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
            self._use.opened()
            return stream
        raise RequestFailed("UNREACHABLE", "no address of the host can be reached")

    async def _admitted(self, host: str, port: int) -> list[str]:
        try:
            given = [str(ip_address(host))]
        except ValueError:
            given = list(await self._resolver(host, port))
        if not given:
            raise RequestFailed("UNRESOLVED", "the host has no address")
        addresses = [ip_address(each) for each in given]
        # One answer that is not public among others is how a name tries its luck.
        if not all(self._policy.admits(address) for address in addresses):
            raise Rejected("url", "ADDRESS_NOT_PUBLIC", "leads to an address that is not public")
        return [str(each) for each in dict.fromkeys(addresses)][:_ADDRESSES_MAX]


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with their names in lower case. What would frame or redirect the request is refused."""
    checked = {name.lower(): value for name, value in headers.items()}
    if len(checked) != len(headers) or not _FORBIDDEN_HEADERS.isdisjoint(checked):
        raise Rejected("url", "HTTP_HEADER", "has a header that the client itself sets, or one twice")
    for name, value in checked.items():
        if not name.isascii() or not value.isascii() or any(each in name + value for each in "\r\n\0"):
            raise Rejected("url", "HTTP_HEADER", "has a header that is no plain ASCII text")
    return checked
