"""The streams that callers hold open: each ends when its caller's token does or is revoked, or its address is blocked.

Whatever a stream waits for, it ends at once, and its servicer sees what it would see had the client gone away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from service.admission.tokens import Caller, ended
from service.api.authentication import current_caller
from service.api.standing import Standing
from service.domain.addresses import Network, first_holding, parse_address
from service.domain.errors import DomainError

_US_PER_S = 1_000_000


class Clock(Protocol):
    """The time tokens end by."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""


class _Stream:
    """An open stream. With `refusal` it is ended."""

    __slots__ = ("caller", "limit", "refusal")

    def __init__(self, caller: Caller, limit: asyncio.Timeout) -> None:
        self.caller = caller
        self.limit = limit
        self.refusal: DomainError | None = None


class OpenStreams:
    """All of them."""

    def __init__(self, standing: Standing, clock: Clock) -> None:
        self._standing = standing
        self._clock = clock
        self._open: dict[_Stream, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def lasting(self) -> AsyncGenerator[None, None]:
        """For as long as a stream of the current caller lasts. Raises in it what refuses the caller when it ends."""
        caller = current_caller()
        left_s = (caller.ends_at_us - self._clock.now_us()) / _US_PER_S
        stream = _Stream(caller, asyncio.timeout(max(0.0, left_s)))
        self._open[stream] = None
        try:
            async with stream.limit:
                yield
        except TimeoutError:
            if not stream.limit.expired():
                raise
            raise stream.refusal or ended(caller) from None
        finally:
            del self._open[stream]
            # What is raised keeps this frame, which must not keep it in turn.
            stream.refusal = None

    def end_revoked(self, tenant: str) -> int:
        """End the streams of a tenant whose credentials are revoked. Returns how many."""
        return self._end([stream for stream in self._open if stream.caller.tenant == tenant])

    def end_blocked(self, network: Network) -> int:
        """End the streams from a network that may not call any more. Returns how many."""
        return self._end([stream for stream in self._open if _is_within(network, stream.caller)])

    def end_all(self, why: Callable[[], DomainError]) -> None:
        """End them all, because the service ends."""
        for stream in self._open:
            if stream.refusal is None and not stream.limit.expired():
                stream.refusal = why()
                stream.limit.reschedule(asyncio.get_running_loop().time())

    def _end(self, streams: list[_Stream]) -> int:
        """End those of some streams whose callers would not be let in any more."""
        count = 0
        for stream in streams:
            if stream.refusal is not None or stream.limit.expired():
                continue
            stream.refusal = self._standing.refusal_of(stream.caller)
            if stream.refusal is not None:
                stream.limit.reschedule(asyncio.get_running_loop().time())
                count += 1
        return count


def _is_within(network: Network, caller: Caller) -> bool:
    address = parse_address(caller.authority.principal.address)
    return address is not None and first_holding([network], address) is not None
