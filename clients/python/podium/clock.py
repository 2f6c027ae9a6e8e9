"""The SDK's only source of time outside of an event loop."""

from __future__ import annotations

import time


def monotonic() -> float:
    """Returns seconds that never go back, from some beginning."""
    return time.monotonic()  # noqa: TID251 -- this module is the owner of time in the client
