"""The OpenTelemetry collector, over OTLP/HTTP: one request at a time, in a thread of its own, bounded in time."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from google.protobuf.message import Message

_ANSWER_BYTES_MAX = 64 * 1024
_RETRYABLE = frozenset({429, 502, 503, 504})
_OK = range(200, 300)


class Unreachable(Exception):
    """The collector did not take it, and may later."""


class RefusedByCollector(Exception):
    """The collector will never take it."""


class Collector:
    """Where exports go."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], timeout_s: float) -> None:
        """With an http or https address, which the settings have checked."""
        self._parts = urlsplit(endpoint)
        self._headers = {"Content-Type": "application/x-protobuf", **headers}
        self._timeout_s = timeout_s
        self._context = ssl.create_default_context() if self._parts.scheme == "https" else None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="otlp")

    async def send(self, path: str, message: Message) -> None:
        """Send a request message. Raises Unreachable and RefusedByCollector."""
        # It is made bytes in the thread too: a batch takes milliseconds.
        await asyncio.get_running_loop().run_in_executor(self._thread, self._post, path, message)

    def close(self) -> None:
        """Send nothing more; what is under way ends by its own timeout, without anybody waiting for it."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _post(self, path: str, message: Message) -> None:
        connection = self._connection()
        try:
            body = message.SerializeToString()
            connection.request("POST", f"{self._parts.path.rstrip('/')}{path}", body, self._headers)
            answer = connection.getresponse()
            answer.read(_ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(type(error).__name__) from None
        finally:
            connection.close()
        if answer.status in _RETRYABLE:
            raise Unreachable(f"it answered with the status {answer.status}")
        if answer.status not in _OK:
            raise RefusedByCollector(f"it answered with the status {answer.status}")

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._context is None:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._context)
