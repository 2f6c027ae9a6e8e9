"""Results in Redis or Valkey, through aiocache behind what it lacks: bounded waits, own keys, proof of origin.

Invariant: what cannot be read, or was not written by a service with the same master key for exactly this call, is a
miss. A server that fails is left alone for a while that grows, so that it does not slow every call.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import orjson
from aiocache.backends.redis import RedisCache
from aiocache.serializers import NullSerializer
from google.protobuf.message import DecodeError
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from podium.v1 import value_pb2
from service.admission.cache_flights import Call
from service.admission.result_cache import Entry, Source
from service.engine.cache_failures import READ, WRITE, CacheFailures
from service.engine.timers import Clock
from service.settings.cache import RemotePlace

logger = logging.getLogger(__name__)

_CONNECTIONS = 8
"""More would not be faster: what a call costs here is more than what it costs the server."""
_LOOKS = 10
"""How often an answer is looked for within its time."""
_US_PER_MS = 1000
_FIRST_PAUSE_US, _LONGEST_PAUSE_US = 250_000, 30_000_000
_MAC_BYTES = 32
_VALUE_MAX_BYTES = 512 * 1024
"""What is larger stays in memory: it would hold up what is asked for at the same time."""


class RemoteResults:
    """The remote cache; see service.admission.cache.RemoteResults."""

    def __init__(
        self,
        place: RemotePlace,
        *,
        timeout_ms: int,
        secret: bytes,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, object]], None],
        failures: CacheFailures,
        failed: Callable[[str, str], None],
    ) -> None:
        """`failed` is told tenant and tool of each failure."""
        self._timeout_s = timeout_ms / 1000
        self._secret = secret
        self._clock = clock
        self._spawn = spawn
        self._failures = failures
        self._failed = failed
        self.failures_in_a_row = 0
        self._pause_until_us = 0
        self._is_probing = False
        self._places = asyncio.Semaphore(_CONNECTIONS)
        """As many as there are connections: the wait for one is ours, and says nothing about the server."""
        self._cache = RedisCache(
            serializer=NullSerializer(encoding=None),
            # Every wait is bounded here: the libraries' clocks would run while this process is busy.
            timeout=0,
            endpoint=place.host,
            port=place.port,
            db=place.database,
            password=place.password or None,
            ssl=place.tls,
            pool_max_size=_CONNECTIONS,
            connection_pool_class=BlockingConnectionPool,
            connection_pool_kwargs={
                "username": place.user or None,
                "timeout": None,
                "socket_timeout": None,
                # Repeated asking is decided here, by the pause.
                "retry": Retry(NoBackoff(), 0),
            },
        )

    async def close(self) -> None:
        """Let the connections go."""
        await self._cache.client.aclose()

    def is_available(self, now_us: int) -> bool:
        """Whether it did not fail lately; after a pause the first to ask tries it for all."""
        return not self.failures_in_a_row or (now_us >= self._pause_until_us and not self._is_probing)

    def ask(self, call: Call, then: Callable[[Entry | None], None]) -> None:
        """Look for a result; `then` is called in any case."""
        self._is_probing = bool(self.failures_in_a_row)
        self._spawn(self._ask(call, then))

    def put(self, call: Call, entry: Entry) -> None:
        """Keep a result for as long as it may serve, if the server is well."""
        now_us = self._clock.now_us()
        lifetime_us = entry.stale_until_us - now_us
        if lifetime_us >= _US_PER_MS and entry.size_bytes <= _VALUE_MAX_BYTES and self.is_available(now_us):
            self._is_probing = bool(self.failures_in_a_row)
            self._spawn(self._put(call, entry, lifetime_us / 1_000_000))

    async def _ask(self, call: Call, then: Callable[[Entry | None], None]) -> None:
        name = self._name(call)
        entry: Entry | None = None
        try:
            data = await self._within_time(call, READ, partial(self._cache.get, name))
            if isinstance(data, bytes):
                entry = self._opened(call, name, data)
        finally:
            then(entry)

    async def _put(self, call: Call, entry: Entry, lifetime_s: float) -> None:
        name = self._name(call)
        data = self._closed(name, entry)
        await self._within_time(call, WRITE, partial(self._cache.set, name, data, ttl=lifetime_s))

    async def _within_time(self, call: Call, operation: str, work: Callable[[], Coroutine[Any, Any, object]]) -> object:
        """What the server answers; None: it fails, or too many ask it to be answered soon."""
        failures_before = self.failures_in_a_row
        try:
            if not await self._has_place():
                return None
            try:
                # It may have failed those who asked before.
                is_failing = self.failures_in_a_row > failures_before
                return None if is_failing else await self._answer(call, operation, work)
            finally:
                self._places.release()
        finally:
            self._is_probing = False

    async def _has_place(self) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._places.acquire()
        except TimeoutError:
            return False

    async def _answer(self, call: Call, operation: str, work: Callable[[], Coroutine[Any, Any, object]]) -> object:
        try:
            async with _looking_for(self._timeout_s):
                answer = await work()
        except (RedisError, OSError, TimeoutError) as error:
            self._note(call, operation, error)
            return None
        except Exception as error:
            # A fault in a library must cost a miss and no call.
            logger.exception("the remote cache failed in an unknown way")
            self._note(call, operation, error)
            return None
        self.failures_in_a_row = 0
        return answer

    def _note(self, call: Call, operation: str, error: Exception) -> None:
        self.failures_in_a_row += 1
        pause_us = min(_LONGEST_PAUSE_US, _FIRST_PAUSE_US << min(self.failures_in_a_row - 1, 10))
        self._pause_until_us = self._clock.now_us() + pause_us
        # The text of an error may hold an address with its password.
        self._failures.note(call.tenant, operation, f"the remote cache does not answer: {type(error).__name__}")
        self._failed(call.tenant, call.tool)

    # What is kept

    def _name(self, call: Call) -> str:
        """The key on the server. A call that was invalidated has another one from then on."""
        named = hmac.digest(self._secret, b"name" + call.key + call.generation.to_bytes(8, "big"), "sha256")
        return f"podium:{quote(call.tenant, safe='')}:{named.hex()}"

    def _closed(self, name: str, entry: Entry) -> bytes:
        source = entry.source
        times = (entry.stored_at_us, entry.fresh_until_us, entry.stale_until_us)
        head = orjson.dumps([source.workflow_id, source.step_id, source.position, *times])
        body = head + b"\n" + entry.value.SerializeToString()
        return self._proof(name, body) + body

    def _opened(self, call: Call, name: str, data: bytes) -> Entry | None:
        """The entry, if it was written by a service with the same key, under this name."""
        proof, body = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(proof, self._proof(name, body)):
            return None
        head, _, value = body.partition(b"\n")
        try:
            workflow_id, step_id, position, stored_at_us, fresh_until_us, stale_until_us = orjson.loads(head)
            return Entry(
                tenant=call.tenant,
                key=call.key,
                tool=call.tool,
                tool_version=call.tool_version,
                arguments_digest=call.arguments_digest,
                subject=call.subject,
                source=Source(workflow_id, step_id, position),
                value=value_pb2.Value.FromString(value),
                stored_at_us=stored_at_us,
                fresh_until_us=fresh_until_us,
                stale_until_us=stale_until_us,
            )
        except (ValueError, DecodeError):
            return None

    def _proof(self, name: str, body: bytes) -> bytes:
        return hmac.digest(self._secret, b"body" + name.encode() + b"\0" + body, "sha256")


@asynccontextmanager
async def _looking_for(timeout_s: float) -> AsyncIterator[None]:
    """Bound the wait for an answer, but not while this process is too busy to take it: that is no fault of the server.

    The time passes in slices, and the loop takes what has arrived between any two of them.
    """
    loop = asyncio.get_running_loop()
    slice_s, looks = timeout_s / _LOOKS, 0
    timer: asyncio.TimerHandle

    def look() -> None:
        nonlocal timer, looks
        looks += 1
        if looks < _LOOKS:
            timer = loop.call_later(slice_s, look)
        else:
            bound.reschedule(loop.time())

    timer = loop.call_later(slice_s, look)
    try:
        async with asyncio.timeout(None) as bound:
            yield
    finally:
        timer.cancel()
