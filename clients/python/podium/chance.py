"""The SDK's only source of randomness: identifiers, and the jitter of its waits."""

from __future__ import annotations

import secrets  # noqa: TID251 -- this module is the owner of chance in the client

_system = secrets.SystemRandom()


def new_id() -> str:
    """Returns 128 random bits as text: request ids and the ids of executor processes."""
    return secrets.token_hex(16)


def jittered(delay: float) -> float:
    """Returns a wait between half of `delay` and all of it, so that many clients do not come back at once."""
    return _system.uniform(delay / 2, delay)
