"""Workflows that go on though their tool is broken: an open breaker, chains, and results of the cache, new and old."""

import podium
from podium.v1 import definition_pb2, policy_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.policies import apply, policy

BREAKER = policy_pb2.BreakerRule(id="feeds", tools=["feed"], failure_threshold=2, recovery_timeout_ms=3_600_000)
SOON = definition_pb2.RetryPolicy(initial_backoff_ms=1, max_backoff_ms=1)
KINDS = {"attempt_rejected", "fallback_tried", "cache_hit", "breaker_transitioned"}
"""What is recorded of it, beside what every run records."""


class Feeds(podium.Executor):
    """A feed that breaks when it is told to, and what may take its place."""

    def __init__(self):
        super().__init__("feeds")
        self.is_broken = False


def feeds():
    """A new executor of the tools."""
    app = Feeds()

    @app.tool(read_only=True, caching=podium.Caching(ttl="1ms", stale="1h"))
    async def feed(of: str) -> str:
        """Tell something new."""
        if app.is_broken:
            raise podium.ToolFailed("it is broken", reason="BROKEN", retryable=True)
        return of

    @app.tool(read_only=True, caching=podium.Caching(ttl="1h"))
    async def archive(of: str) -> str:
        """Tell something that stays."""
        return of

    return app


def _chain():
    """An old result, then the archive; neither waits for a breaker."""
    archive = definition_pb2.ToolFallback(tool="archive")
    return [
        definition_pb2.Fallback(on=["BREAKER_OPEN"], stale=definition_pb2.StaleFallback()),
        definition_pb2.Fallback(on=["STALE_MISS"], tool=archive),
    ]


async def degraded_run(caller, app):
    """The breaker opens between two attempts of a step; each way on from there is gone, one with a new result."""
    await apply(caller, policy(breakers=[BREAKER]))
    await caller.ended(await caller.start(step("feed", {"of": "known"})))
    app.is_broken = True
    for of in ("known", "unknown", "unknown", "known"):
        summary = await caller.ended(await caller.start(step("feed", {"of": of}, retry=SOON, fallback=_chain())))
        assert summary.degraded_steps == 1
    declared = definition_pb2.Fallback(on=["*"], value_json="0")
    await caller.ended(await caller.start(step("feed", {"of": "other"}, fallback=[declared])))
    kinds = {event.WhichOneof("payload") for event in await caller.log()}
    assert kinds >= KINDS
