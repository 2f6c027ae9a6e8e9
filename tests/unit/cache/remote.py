"""A guard with a server beside memory, on a loop of its own, whose calls a test makes one after the other."""

import asyncio

from service.admission.result_cache import CacheBounds
from service.admission.verdicts import Wait
from service.engine.cache_failures import CacheFailures
from service.engine.remote_results import RemoteResults
from service.settings.cache import CacheSettings
from service.tasks import Tasks
from tests.unit.cache.calls import BOUNDS, CachedCalls, answer_of, step_of

FORGETFUL = CacheBounds(tenant_entries=1, tenant_bytes=10_000_000, entries=1, size_bytes=10_000_000)
"""Memory for one result: what else is found is from the server."""


class KeptJournal:
    """Takes what is recorded, which is durable at once unless it fails."""

    def __init__(self):
        self.recorded = []

    def submit(self, tenant, stream_id, payload):
        self.recorded.append((tenant, stream_id, payload))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class ClockOf:
    """The time of a test's calls."""

    def __init__(self, calls):
        self._calls = calls

    def now_us(self):
        return self._calls.now_us


class RemoteCalls(CachedCalls):
    """Calls of a service that keeps results on a server too. A second one on the same server is another life of it."""

    def __init__(self, url, *, bounds=BOUNDS, timeout_ms=2_000, secret=b"s" * 32):
        super().__init__(bounds)
        clock = ClockOf(self)
        self.tasks = Tasks()
        self.journal = KeptJournal()
        self.failures = CacheFailures(self.journal, clock)
        self.remote = RemoteResults(
            CacheSettings(url=url).remote,
            timeout_ms=timeout_ms,
            secret=secret,
            clock=clock,
            spawn=self.tasks.spawn,
            failures=self.failures,
            failed=self._count,
        )
        self.guard.use_remote(self.remote)

    def _count(self, tenant, tool):
        self.results.figures(tenant, tool).errors += 1

    async def settled(self):
        """Waits until nothing is on its way to the server."""
        while len(self.tasks):
            await asyncio.wait(list(self.tasks._running))  # noqa: SLF001 - a test waits for what it has begun

    async def call(self, value="1", output='"out"', *, ttl_ms=None, **more):
        """A whole call: what it is answered with, or None when the tool was called, which returned the output."""
        request = self.request(value, **more)
        verdict = self.ask(request)
        if isinstance(verdict, Wait):
            verdict.join()
            await self.settled()
            assert self.woken.pop() == step_of(request)
            verdict = self.ask(request)
        answer = answer_of(verdict)
        if answer is None:
            self.guard.started(request, self.now_us)
            self.succeed(request, output, cache_ttl_ms=ttl_ms)
            await self.settled()
        else:
            self.end(request)
        return answer

    async def close(self):
        await self.failures.flush()
        await self.tasks.close()
        await self.remote.close()
