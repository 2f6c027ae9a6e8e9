"""Lets no RPC through while another process may own the log: what this one knows may not be true any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from service.api.handlers import Context, SurroundingInterceptor
from service.api.methods import OPEN_SERVICES
from service.domain.errors import Unavailable


class OwnershipInterceptor(SurroundingInterceptor):
    """Refuses every RPC but health and reflection from the end of the lease until it is renewed.

    Tools, keys and permissions are answered from memory as workflows are, so all methods wait alike.
    """

    def __init__(self, is_current: Callable[[], bool]) -> None:
        super().__init__()
        self._is_current = is_current

    def passes_over(self, method: str) -> bool:
        """Health and reflection tell nothing of the log."""
        return method.startswith(OPEN_SERVICES)

    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[None]:
        """See SurroundingInterceptor."""
        return self._owning()

    @asynccontextmanager
    async def _owning(self) -> AsyncIterator[None]:
        if not self._is_current():
            message = "the database has not confirmed for a while that this server owns the log: ask again"
            raise Unavailable("LEASE_EXPIRED", message, retry_after_ms=1000)
        yield
