"""The OpenTelemetry collector, over OTLP/HTTP: one request at a time, in a thread, and bounded in time as a whole."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from urllib.parse import urlsplit

from google.protobuf.message import Message

from service.outgoing_http import HttpRequest

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
        """With an http or https address, which the settings have checked. The timeout is for all of a request."""
        self._parts = urlsplit(endpoint)
        self._headers = {"Content-Type": "application/x-protobuf", **headers}
        self._timeout_s = timeout_s
        self._context = ssl.create_default_context() if self._parts.scheme == "https" else None
        self._sending = asyncio.Lock()
        self._under_way: HttpRequest | None = None
        self._is_closed = False

    async def send(self, path: str, message: Message) -> None:
        """Send a request message. Raises Unreachable and RefusedByCollector."""
        async with self._sending:
            status = await self._post(path, message)
        if status in _RETRYABLE:
            raise Unreachable(f"it answered with the status {status}")
        if status not in _OK:
            raise RefusedByCollector(f"it answered with the status {status}")

    def close(self) -> None:
        """Send nothing more, and cut off what is under way: the service ends."""
        self._is_closed = True
        if self._under_way is not None:
            self._under_way.cut()

    async def _post(self, path: str, message: Message) -> int:
        if self._is_closed:
            raise Unreachable("the service ends")
        request = self._under_way = HttpRequest(self._parts, self._timeout_s, self._context)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await _in_thread(partial(self._exchange, request, path, message))
        except TimeoutError:
            raise Unreachable(f"it did not answer within {self._timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(type(error).__name__) from None
        finally:
            request.cut()

    def _exchange(self, request: HttpRequest, path: str, message: Message) -> int:
        # It is made bytes in the thread too: a batch takes milliseconds.
        body = message.SerializeToString()
        to = f"{self._parts.path.rstrip('/')}{path}"
        return request.send("POST", to, self._headers, body, answer_bytes_max=_ANSWER_BYTES_MAX).status


async def _in_thread(work: Callable[[], int]) -> int:
    """Do some work in a thread for which nobody waits, neither a next request nor the end of the process.

    A pool's would be joined then, and one that connects, or looks for a name, cannot be cut off.
    """
    outcome: Future[int] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            outcome.set_exception(error)

    outcome.set_running_or_notify_cancel()
    threading.Thread(target=run, name="otlp", daemon=True).start()
    return await asyncio.wrap_future(outcome)
