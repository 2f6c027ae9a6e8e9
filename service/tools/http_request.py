"""`http_request`: a request to a server that is allowed, over kept connections to addresses that were checked."""

import base64
import binascii
from typing import Annotated, Literal, TypedDict

import podium
from podium.marks import SANITIZE
from podium.sanitizers.pinned_client import PinnedClient, RequestFailed
from podium.sanitizers.rejection import Rejected
from podium.sanitizers.url import UrlSanitizer
from service.tools.failures import INPUT_REJECTED, TOO_LARGE, failed, rejected
from service.tools.pools import health_of
from service.tools.settings import Http

READING = frozenset({"GET", "HEAD", "OPTIONS"})
_IDEMPOTENT = READING | {"PUT", "DELETE"}
_SERVER_FAILED = 500
_HIDDEN_HEADERS = frozenset({"set-cookie", "set-cookie2", "www-authenticate", "proxy-authenticate"})
"""They are for clients that keep a session, and may be a secret; results are recorded."""


class HttpResponse(TypedDict):
    """What the server answered. `url` is where a redirect led, `encoding` base64 where the body is no text in UTF-8."""

    status: int
    url: str
    headers: dict[str, str]
    body: str
    encoding: str


def options_of(settings: Http) -> dict[str, list[str] | list[int]]:
    """What the sanitizer is told, in the tool's schema and where connections are made."""
    named: dict[str, list[str] | list[int]] = {
        "schemes": list(settings.schemes),
        "hosts": list(settings.hosts),
        "ports": list(settings.ports),
        "networks": list(settings.networks),
    }
    return {name: value for name, value in named.items() if value}


def client_of(settings: Http) -> PinnedClient:
    """The client that the tool uses. Whoever makes it closes it."""
    return PinnedClient(
        UrlSanitizer(options_of(settings)),
        connections_max=settings.max_connections,
        redirects_max=settings.max_redirects,
    )


def add_http_request(
    app: podium.Executor, client: PinnedClient, settings: Http, probe: podium.Probe | None = None
) -> None:
    """Serve the tool."""
    methods = frozenset(settings.methods)

    async def health() -> podium.Health:
        return await health_of(lambda: _ask(client, settings), lambda: [client.statistics()])

    @app.tool(
        health=health if settings.health_url else None,
        probe=probe if settings.health_url else None,
        permissions=["network_access"],
        read_only=methods <= READING,
        idempotent=methods <= _IDEMPOTENT,
        timeout=settings.timeout_s + 5,
    )
    async def http_request(
        url: Annotated[str, "The address.", {SANITIZE: {"url": options_of(settings)}}],
        method: Annotated[str, {"enum": sorted(methods)}] = settings.methods[0],
        headers: Annotated[dict[str, str] | None, "What is sent beside it, by name."] = None,
        body: str = "",
        body_encoding: Annotated[Literal["utf-8", "base64"], "What body is written in."] = "utf-8",
        timeout_s: Annotated[
            float, "How long to wait in all.", {"exclusiveMinimum": 0, "maximum": settings.timeout_s}
        ] = settings.timeout_s,
    ) -> HttpResponse:
        """Send an HTTP request to a server that is allowed. A status of 400 or above is an answer, and no failure."""
        data = _decoded(body, body_encoding)
        if len(data) > settings.max_request_bytes:
            raise failed(TOO_LARGE, f"body is larger than {settings.max_request_bytes} bytes", field="body")
        try:
            answer = await client.request(
                method, url, headers=headers, body=data, max_bytes=settings.max_response_bytes, timeout=timeout_s
            )
        except Rejected as error:
            if error.reason == "RESPONSE_TOO_LARGE":
                raise failed(TOO_LARGE, f"the {error.message.removeprefix('has an ')}") from None
            raise rejected(error, "headers" if error.reason == "HTTP_HEADER" else "url") from None
        except RequestFailed as error:
            raise failed(error.reason, error.message, retryable=method in _IDEMPOTENT) from None
        content, encoding = _content(answer.body)
        shown = {name: value for name, value in answer.headers if name not in _HIDDEN_HEADERS}
        return HttpResponse(status=answer.status, url=answer.url, headers=shown, body=content, encoding=encoding)


async def _ask(client: PinnedClient, settings: Http) -> None:
    statistics = client.statistics()
    # One more would wait for those that work.
    if statistics.in_use >= statistics.size:
        return
    try:
        answer = await client.request(
            "GET", settings.health_url, max_bytes=settings.max_response_bytes, timeout=settings.timeout_s
        )
    except (Rejected, RequestFailed) as error:
        raise failed(error.reason, error.message) from None
    if answer.status >= _SERVER_FAILED:
        raise failed("UNHEALTHY", f"the health address answers {answer.status}")


def _decoded(body: str, encoding: str) -> bytes:
    try:
        return body.encode() if encoding == "utf-8" else base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise failed(INPUT_REJECTED, f"body is not valid {encoding}", field="body") from None


def _content(body: bytes) -> tuple[str, str]:
    try:
        return body.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"
