"""One connection to the service: its channel, who the caller is, and calls that survive a restart of the server.

A call that finds the service unavailable is repeated with the same request, and so with the same request id: the
service recognises it, and what was recorded the first time is the answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import grpc
import grpc.aio

from podium.backoff import Backoff
from podium.discovery import REMEDY, Target, tls_files
from podium.errors import InvalidInput, Unavailable
from podium.rpc_errors import error_of
from podium.spans import TRACEPARENT, span_traceparent

if TYPE_CHECKING:
    from grpc.aio import Metadata, UnaryUnaryMultiCallable

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Token: TypeAlias = str | Callable[[], str]

MESSAGE_MAX_BYTES = 16 * 1024 * 1024
CALL_TIMEOUT_S = 30.0
OUTAGE_MAX_S = 30.0
"""How long a call waits for a service that is away. A call that was under way for longer begins to count anew."""

_OPTIONS = [
    ("grpc.max_send_message_length", MESSAGE_MAX_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
    # A peer that vanished without a word is noticed, however long nothing is said. The service allows a ping every 10 s
    # (service/listening.py); what pinged more often than it allows would be cut off.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's own waits grow to two minutes, long after a restarted server is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
]
_FIRST_CONTACT_S = 5.0


@dataclass(frozen=True, slots=True)
class TLS:
    """How to reach a server with TLS. Everything unset: the system's authorities, no certificate of our own.

    Without one, what the environment names counts: PODIUM_TLS_CA_FILE, PODIUM_TLS_CLIENT_CERTIFICATE_FILE and
    PODIUM_TLS_CLIENT_KEY_FILE.
    """

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files. Raises InvalidInput."""
        return grpc.ssl_channel_credentials(
            *(_read(each) for each in (self.ca_file, self.key_file, self.certificate_file))
        )


def _read(path: str | None) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", field="tls") from None


class Connection:
    """An open channel and the token that goes with every call on it."""

    def __init__(self, channel: grpc.aio.Channel, target: Target, token: Token) -> None:
        self.channel = channel
        self.target = target
        self._token = token
        self.renews_token = callable(token)
        """A call that is made again may carry another token."""
        self._constant = None if callable(token) else _bearer(token)

    def metadata(self) -> Metadata:
        """Returns what authenticates a call. A token that is a function is asked anew each time."""
        if self._constant is not None:
            return self._constant
        return _bearer(self._token() if callable(self._token) else self._token)

    async def call(
        self,
        method: UnaryUnaryMultiCallable[Request, Answer],
        request: Request,
        *,
        timeout: float | None = CALL_TIMEOUT_S,
    ) -> Answer:
        """Calls a method, again while the service is away, and returns its answer or raises a PodiumError."""
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        give_up_at: float | None = None
        while True:
            began_at = loop.time()
            try:
                return await method(request, timeout=timeout, metadata=_traced(self.metadata()))
            except grpc.aio.AioRpcError as rpc_error:
                error = error_of(rpc_error)
                if not isinstance(error, Unavailable):
                    raise error from rpc_error
                if give_up_at is None or loop.time() - began_at > OUTAGE_MAX_S:
                    give_up_at = loop.time() + OUTAGE_MAX_S
                    backoff.reset()
                delay = max(backoff.next_delay(), error.retry_after or 0.0)
                if loop.time() + delay > give_up_at:
                    raise error from rpc_error
            await asyncio.sleep(delay)

    async def reach(self) -> None:
        """Returns when a server answers.

        Raises:
            Unavailable: Nobody answers. A development server gets one try, because its file names a process that was
                there; any other server may just be starting, and gets a few seconds.
        """
        # Any answer will do, also that the method is not there. Health needs no token.
        ask: UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + (0.0 if self.target.discovered else _FIRST_CONTACT_S)
        backoff = Backoff()
        while True:
            try:
                await ask(b"", timeout=_FIRST_CONTACT_S)
            except grpc.aio.AioRpcError as rpc_error:
                if rpc_error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    return
                delay = backoff.next_delay()
                if loop.time() + delay > give_up_at:
                    message = f"no Podium server answers at {self.target.address} ({rpc_error.details()}): {REMEDY}"
                    raise Unavailable(message, reason="NO_SERVER") from None
            else:
                return
            await asyncio.sleep(delay)

    async def close(self) -> None:
        """Ends what still runs on the channel and closes it."""
        await self.channel.close()


def open_connection(target: Target, token: Token | None = None, *, tls: TLS | bool | None = None) -> Connection:
    """Opens a channel; nothing is sent yet.

    Raises:
        InvalidInput: The token would cross a network in the clear, and nobody said that it may.
    """
    scheme, _, rest = target.address.rpartition("://")
    if scheme not in {"", "http", "https"}:
        raise InvalidInput(f"{target.address!r} begins with neither http:// nor https://", field="address")
    secured = scheme == "https" if tls is None else tls is not False
    if not (secured or scheme or tls is False or _stays_here(rest)):
        raise InvalidInput(
            f"the token would be sent to {rest} in the clear: use https://{rest}, or say http://{rest} to allow it",
            field="address",
        )
    if secured:
        chosen = tls if isinstance(tls, TLS) else TLS(*tls_files())
        channel = grpc.aio.secure_channel(rest, chosen.credentials(), options=_OPTIONS)
    else:
        channel = grpc.aio.insecure_channel(rest, options=_OPTIONS)
    return Connection(channel, target, token if token is not None else target.token)


def _bearer(token: str) -> Metadata:
    return grpc.aio.Metadata(("authorization", f"Bearer {token}")) if token else grpc.aio.Metadata()


def _traced(metadata: Metadata) -> Metadata:
    """What authenticates a call, with where its caller is in a trace."""
    traceparent = span_traceparent()
    return grpc.aio.Metadata(*metadata, (TRACEPARENT, traceparent)) if traceparent else metadata


def _stays_here(address: str) -> bool:
    """Whether what is sent to the address does not leave this machine."""
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
