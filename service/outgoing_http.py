"""One HTTP request, made in a thread, that others can cut off. No redirect is followed and no proxy asked."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import SplitResult


class Answer(NamedTuple):
    """What came back, the data as far as they were wanted."""

    status: int
    data: bytes


class HttpRequest:
    """A request to an http or https address. Its timeout is for each wait for the other side, not for them together.

    So whoever bounds the whole cuts it off when the time is over: a thread cannot be cancelled, and without its
    socket it ends.
    """

    def __init__(self, parts: SplitResult, timeout_s: float, context: ssl.SSLContext | None = None) -> None:
        """Without a context an https address is asked with a default one."""
        host, self._timeout_s = parts.hostname or "", timeout_s
        self._context: ssl.SSLContext | None = None
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            self._context = context or ssl.create_default_context()
            port = parts.port or http.client.HTTPS_PORT
            self._connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._context)
        else:
            self._connection = http.client.HTTPConnection(host, parts.port or http.client.HTTP_PORT, timeout=timeout_s)
        self._socket: socket.socket | None = None
        self._is_cut = False

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None, *, answer_bytes_max: int
    ) -> Answer:
        """Send it and read the answer. Raises OSError and HTTPException, also when it is cut off."""
        try:
            self._connect()
            self._connection.request(method, path, body, dict(headers))
            with self._connection.getresponse() as got:
                answer = Answer(got.status, got.read(answer_bytes_max))
            # One that has no length ends where it is cut off.
            self._require_uncut()
            return answer
        finally:
            self._connection.close()

    def cut(self) -> None:
        """Let nothing more be sent or read."""
        self._is_cut = True
        if self._socket is not None:
            with suppress(OSError):
                # Not the method of a TLS socket, which takes the TLS away under whoever reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _connect(self) -> None:
        # The connection would do it too, but would not have its socket known during the handshake of TLS.
        host = self._connection.host
        connected = socket.create_connection((host, self._connection.port), self._timeout_s)
        self._keep(connected)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            secured = self._context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
            self._keep(secured)
            secured.do_handshake()

    def _keep(self, connected: socket.socket) -> None:
        self._connection.sock = self._socket = connected
        # Whoever cut it before could not know this socket.
        self._require_uncut()

    def _require_uncut(self) -> None:
        if self._is_cut:
            raise ConnectionAbortedError("the request was cut off")
