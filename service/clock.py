"""The system's time and chance: with service.config the only place where the service meets the outside unasked.

Everything else takes them by constructor, so that a simulator can hold them all.
"""

from __future__ import annotations

import base64
import secrets  # noqa: TID251 - this module is the owner of the service's chance
import time

_TOKEN_BYTES = 17
_TOKEN_LENGTH = 26
"""In base 32, and so 130 bits."""
_FRACTION_BITS = 53


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch. May jump when the machine's clock is set."""
        return time.time_ns() // 1000  # noqa: TID251 - this module is the owner of the service's time

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back, so that it measures durations."""
        return time.monotonic()  # noqa: TID251 - this module is the owner of the service's time

    def worked_us(self) -> int:
        """Microseconds that the calling thread has computed for: what others make it wait for is not in it."""
        return time.thread_time_ns() // 1000  # noqa: TID251 - this module is the owner of the service's time


class SystemRandomness:
    """The machine's source of randomness, fit for secrets."""

    def token(self) -> str:
        """26 lower-case letters and digits that nobody can guess."""
        return base64.b32encode(secrets.token_bytes(_TOKEN_BYTES)).decode().lower()[:_TOKEN_LENGTH]

    def chance(self) -> float:
        """A number in [0, 1)."""
        return secrets.randbits(_FRACTION_BITS) / (1 << _FRACTION_BITS)

    def bytes(self, count: int) -> bytes:
        """That many random bytes."""
        return secrets.token_bytes(count)
