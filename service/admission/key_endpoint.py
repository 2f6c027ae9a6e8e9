"""Fetches a key set over HTTP: bounded in size and time, with no redirect followed and no proxy asked."""

from __future__ import annotations

import asyncio
import http.client
from urllib.parse import urlsplit

from service.outgoing_http import HttpRequest

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
        request = HttpRequest(self._parts, _SOCKET_TIMEOUT_S)
        try:
            async with asyncio.timeout(self._within_s):
                return await asyncio.to_thread(self._ask, request)
        except TimeoutError:
            raise EndpointError(f"it did not answer within {self._within_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise EndpointError(f"{type(error).__name__}: {error}") from None
        finally:
            request.cut()

    def _ask(self, request: HttpRequest) -> bytes:
        path = self._parts.path or "/"
        answer = request.send(
            "GET",
            f"{path}?{self._parts.query}" if self._parts.query else path,
            {"Accept": "application/json", "Connection": "close"},
            answer_bytes_max=ANSWER_BYTES_MAX + 1,
        )
        if answer.status != _OK:
            raise EndpointError(f"it answered with the status {answer.status}")
        if len(answer.data) > ANSWER_BYTES_MAX:
            raise EndpointError(f"its answer is larger than {ANSWER_BYTES_MAX} bytes")
        return answer.data
