"""The result cache put together: the guard, what is in memory, what ended its use, and a server beside it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from podium.v1 import value_pb2
from service.admission.cache import CacheGuard
from service.admission.result_cache import CacheBounds, ResultCache
from service.domain.permissions import Policy
from service.domain.values import SealBrokenError
from service.engine.cache_failures import CacheFailures
from service.engine.cache_invalidations import CacheInvalidations
from service.engine.data_keys import Keyring, derived
from service.engine.journal import Journal
from service.engine.keys import StepKey
from service.engine.timers import Clock
from service.settings.cache import CacheSettings
from store.contract import EventStore


class ResultCaching:
    """The cache of all tenants. Its streams are `cache` in each of them."""

    def __init__(
        self,
        settings: CacheSettings,
        policy_of: Callable[[str], Policy],
        *,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, object]], None],
        master_key: bytes,
    ) -> None:
        """`master_key` keeps what others write to the server, and services with another key, from being believed."""
        self._settings = settings
        self._clock = clock
        self._spawn = spawn
        self._master_key = master_key
        self.results = ResultCache(
            CacheBounds(settings.tenant_entries, settings.tenant_bytes, settings.entries, settings.size_bytes)
        )
        self.invalidations = CacheInvalidations()
        self._keyring: Keyring | None = None
        self.guard = CacheGuard(
            policy_of,
            self.results,
            generation_of=self.invalidations.generation_of,
            is_readable=self._is_readable,
        )
        self.invalidations.on_invalidation(self.guard.invalidate)
        self.remote_place = str(settings.remote or "")
        """Where results are kept beside memory, without credentials; empty: nowhere."""
        self.remote_failures: Callable[[], int] = lambda: 0
        """How often the server there failed since it last answered."""
        self._failures: CacheFailures | None = None
        self._close: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def load(self, store: EventStore) -> None:
        """Find out what was invalidated, and begin to use the server if there is one."""
        journal = Journal(store)
        await self.invalidations.load(store, journal)
        place = self._settings.remote
        if place is None:
            return
        # It brings half a second of libraries, which most services need not wait for.
        from service.engine.remote_results import RemoteResults  # noqa: PLC0415 - explained

        self._failures = CacheFailures(journal, self._clock)
        remote = RemoteResults(
            place,
            timeout_ms=self._settings.timeout_ms,
            secret=derived(self._master_key, b"podium result cache"),
            clock=self._clock,
            spawn=self._spawn,
            failures=self._failures,
            failed=self._failed,
        )
        self._close = remote.close
        self.remote_failures = lambda: remote.failures_in_a_row
        self.guard.use_remote(remote)

    def wakes(self, ask_again: Callable[[StepKey], None]) -> None:
        """Say how admission is asked again about a step that waits for a result."""
        self.guard.flights.wake = lambda step: ask_again(StepKey(*step))

    def opens_with(self, keyring: Keyring) -> None:
        """Say which data keys there are: what was sealed with one that is destroyed answers no call."""
        self._keyring = keyring

    async def drain(self) -> None:
        """Record the failures that were only counted so far, and let the server go."""
        if self._failures is not None:
            await self._failures.flush()
        if self._close is not None:
            await self._close()

    def _is_readable(self, tenant: str, value: value_pb2.Value) -> bool:
        if self._keyring is None or not value.HasField("sealed"):
            return True
        try:
            self._keyring.find(tenant, value.sealed.key_id)
        except SealBrokenError:
            return False
        return True

    def _failed(self, tenant: str, tool: str) -> None:
        self.results.figures(tenant, tool).errors += 1
