"""The attempts that run now: who holds them, when they were last heard of, how much of their output is durable.

Kept in memory; after a restart it is built again from the workflows' states and from what reconnecting executors
say they hold. An attempt whose executor is gone for longer than the grace is lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any

from podium.v1 import executor_service_pb2 as wire
from podium.v1 import value_pb2
from service.engine.dispatch import Executor
from service.engine.keys import StepKey, ToolVersion
from service.engine.timers import Clock, Timers

_NONE: Mapping[str, bytes] = MappingProxyType({})
MOMENT_US = 50_000
"""An attempt that was given out for so long is none of a quick tool."""


class LiveAttempt:
    """One running attempt."""

    __slots__ = (
        "_chunks_digest",
        "attempt",
        "deferred",
        "durable_chunks",
        "executor",
        "fence",
        "heard_us",
        "heartbeat_us",
        "holder",
        "key",
        "lost_us",
        "received_chunks",
        "sanitized",
        "secrets",
        "stream",
        "tool",
        "uploads",
    )

    def __init__(self, key: StepKey, tool: ToolVersion, attempt: int, fence: int, heartbeat_ms: int) -> None:
        self.key = key
        self.tool = tool
        self.attempt = attempt
        self.fence = fence
        self.executor: Executor | None = None
        self.holder = ""
        """The subject of the executor that holds it or held it last; empty after a restart until one has claimed it."""
        self.heartbeat_us = heartbeat_ms * 1000
        self.heard_us = 0
        self.lost_us = 0
        self.received_chunks = 0
        self.durable_chunks = 0
        self._chunks_digest: Any = None
        self.deferred: wire.AttemptResult | None = None
        """A result that waits until all of its chunks are durable."""
        self.secrets: Mapping[str, bytes] = _NONE
        """What its executor was given, by name: it must not come back."""
        self.sanitized: dict[str, None] | None = None
        """What changed in the output that came in so far, in order."""
        self.stream: Any = None
        """What holds back the end of the streamed output; see service.executors.chunk_redaction."""
        self.uploads: set[bytes] | None = None
        """The digests of the uploaded outputs that were found in order for it."""

    @property
    def chunks_digest(self) -> Any:  # noqa: ANN401 - the class of hashes has no public name
        """What all durable chunks hash to, in order; made with the first, because most attempts stream nothing."""
        if self._chunks_digest is None:
            self._chunks_digest = hashlib.sha256()
        return self._chunks_digest

    def restart_chunks(self, chunks: Sequence[bytes]) -> None:
        """Take these as the chunks that are durable; what was held back comes again."""
        self.stream = None
        self._chunks_digest = hashlib.sha256(b"".join(chunks))
        self.received_chunks = self.durable_chunks = len(chunks)

    @property
    def reference(self) -> wire.AttemptReference:
        """The attempt as executors know it."""
        return wire.AttemptReference(
            workflow_id=self.key.workflow_id, step_id=self.key.step_id, attempt=self.attempt, fence=self.fence
        )


class Attempts:
    """All running attempts of the shard."""

    def __init__(self, clock: Clock, grace_us: int, fail: Callable[[LiveAttempt, value_pb2.Failure], None]) -> None:
        self._clock = clock
        self._grace_us = grace_us
        self._fail = fail
        self._live: dict[StepKey, LiveAttempt] = {}
        self._timers: Timers[StepKey] = Timers(clock, self._look)

    def __len__(self) -> int:
        return len(self._live)

    def of_tenant(self, tenant: str) -> int:
        """How many run for a tenant."""
        return sum(key.tenant == tenant for key in self._live)

    def close(self) -> None:
        """Watch no more."""
        self._timers.close()

    def coming(self) -> int:
        """How many attempts may well end within a moment: they were given to executors just now. At most 1,000."""
        since_us = self._clock.now_us() - MOMENT_US
        count = 0
        # The newest come last. One that runs for longer says nothing about when it will end.
        for live in islice(reversed(self._live.values()), 1_000):
            if live.heard_us < since_us:
                break
            count += 1
        return count

    def track(self, key: StepKey, tool: ToolVersion, attempt: int, fence: int, heartbeat_ms: int) -> LiveAttempt:
        """Follow an attempt; the same one keeps what is known of it. Nobody holds a new one yet."""
        live = self._live.get(key)
        if live is None or live.fence != fence:
            live = self._live[key] = LiveAttempt(key, tool, attempt, fence, heartbeat_ms)
        return live

    def hold(self, live: LiveAttempt, executor: Executor) -> None:
        """An executor holds the attempt from now on."""
        live.executor = executor
        live.holder = executor.session.authority.principal.subject
        live.lost_us = 0
        live.heard_us = self._clock.now_us()
        if live.heartbeat_us:
            self._timers.set(live.key, live.heard_us + live.heartbeat_us)

    def lose(self, live: LiveAttempt) -> None:
        """Nobody holds the attempt; it is lost unless someone does before the grace ends."""
        live.executor = None
        live.lost_us = self._clock.now_us()
        self._timers.set(live.key, live.lost_us + self._grace_us)

    def lose_all(self, executor: Executor) -> None:
        """An executor's connection is gone."""
        for live in list(self._live.values()):
            if live.executor is executor:
                self.lose(live)

    def find(self, tenant: str, reference: wire.AttemptReference) -> LiveAttempt | None:
        """The running attempt with exactly this fence, or None: then the reference is stale."""
        live = self._live.get(StepKey(tenant, reference.workflow_id, reference.step_id))
        if live is None or live.attempt != reference.attempt or live.fence != reference.fence:
            return None
        return live

    def of_step(self, key: StepKey) -> LiveAttempt | None:
        """The running attempt of a step."""
        return self._live.get(key)

    def heard(self, live: LiveAttempt) -> None:
        """The tool itself gave a sign of life."""
        live.heard_us = self._clock.now_us()

    def drop(self, key: StepKey) -> LiveAttempt | None:
        """The attempt has ended."""
        self._timers.clear(key)
        return self._live.pop(key, None)

    def _look(self, key: StepKey) -> None:
        live = self._live.get(key)
        if live is None:
            return
        now = self._clock.now_us()
        if live.executor is None and live.lost_us:
            if now >= live.lost_us + self._grace_us:
                message = "the executor that ran the attempt is gone and did not come back in time"
                self._fail_and_look_again(live, "EXECUTOR_LOST", message, self._grace_us)
            else:
                self._timers.set(key, live.lost_us + self._grace_us)
        elif live.heartbeat_us and now >= live.heard_us + live.heartbeat_us:
            message = f"the tool was silent for longer than its heartbeat timeout of {live.heartbeat_us // 1000} ms"
            self._fail_and_look_again(live, "HEARTBEAT_TIMEOUT", message, live.heartbeat_us)
        elif live.heartbeat_us:
            self._timers.set(key, live.heard_us + live.heartbeat_us)

    def _fail_and_look_again(self, live: LiveAttempt, reason: str, message: str, after_us: int) -> None:
        self._fail(live, value_pb2.Failure(reason=reason, message=message, retryable=True))
        # The failure may not get into the log; once it is there, nobody looks any more.
        self._timers.set(live.key, self._clock.now_us() + after_us)
