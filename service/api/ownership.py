"""Lets no RPC through while another process may own the log: what this one knows may not be true any more."""

from __future__ import annotations

from collections.abc import Callable

from service.api.handlers import Context
from service.domain.errors import Unavailable


class Ownership:
    """A guard: refuses every RPC from the end of the lease until it is renewed.

    Tools, keys and permissions are answered from memory as workflows are, so all methods wait alike.
    """

    def __init__(self, is_current: Callable[[], bool]) -> None:
        self._is_current = is_current

    def __call__(self, method: str, context: Context) -> None:
        """See service.api.handlers.Guard."""
        if not self._is_current():
            message = "the database has not confirmed for a while that this server owns the log: ask again"
            raise Unavailable("LEASE_EXPIRED", message, retry_after_ms=1000)
