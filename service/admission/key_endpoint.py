"""Fetches a key set over HTTP: bounded in size and time, with no redirect followed and no proxy asked."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

ANSWER_BYTES_MAX = 256 * 1024
WITHIN_S = 5.0
_SOCKET_TIMEOUT_S = 4.0
_OK = 200


class EndpointError(Exception):
    """There is no key set at the address, or not now."""


class KeyEndpoint:
    """The address at which an issuer publishes its keys."""

    def __init__(self, url: str, *, within_s: float = WITHIN_S) -> None:
        """With an https or http address, which the settings have checked."""
        self._parts = urlsplit(url)
        self._within_s = within_s

    async def fetch(self) -> bytes:
        """Fetch what is published. Raises EndpointError."""
        request = _Request(self._parts)
        path = self._parts.path or "/"
        try:
            async with asyncio.timeout(self._within_s):
                return await asyncio.to_thread(
                    request.read, f"{path}?{self._parts.query}" if self._parts.query else path
                )
        except TimeoutError:
            raise EndpointError(f"it did not answer within {self._within_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise EndpointError(f"{type(error).__name__}: {error}") from None
        finally:
            # A thread cannot be cancelled: without its socket it ends.
            request.cut()


class _Request:
    """One request, made in a thread."""

    def __init__(self, parts: SplitResult) -> None:
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=_SOCKET_TIMEOUT_S, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SOCKET_TIMEOUT_S)
        self._socket: socket.socket | None = None

    def read(self, path: str) -> bytes:
        """Ask and read the answer. Raises OSError, HTTPException and EndpointError."""
        try:
            self._connection.connect()
            # Kept, because the connection forgets its socket with the last answer.
            self._socket = self._connection.sock
            self._connection.request("GET", path, headers={"Accept": "application/json", "Connection": "close"})
            answer = self._connection.getresponse()
            if answer.status != _OK:
                raise EndpointError(f"it answered with the status {answer.status}")
            data = answer.read(ANSWER_BYTES_MAX + 1)
        finally:
            self._connection.close()
        if len(data) > ANSWER_BYTES_MAX:
            raise EndpointError(f"its answer is larger than {ANSWER_BYTES_MAX} bytes")
        return data

    def cut(self) -> None:
        """Let nothing more be read."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
