"""Uses of tools that end in every way there is, one by one: what is told of them can be compared with the log."""

import asyncio

import podium
from podium.v1 import definition_pb2, policy_pb2, tool_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.degraded_run import BREAKER, SOON, degraded_run, feeds
from tests.integration.rig.policies import apply, policy

KINDS = {
    "step_succeeded",
    "step_failed",
    "step_denied",
    "attempt_started",
    "attempt_failed",
    "attempt_rejected",
    "attempt_abandoned",
    "fallback_tried",
    "cache_hit",
    "rate_limited",
    "breaker_transitioned",
}
"""What is recorded of it that is counted by tool."""
ONCE = definition_pb2.RetryPolicy(max_attempts=1)
CONTINUES = definition_pb2.ON_FAILURE_CONTINUE
BEGUN_WITHIN_MS = 1_500
"""In which an attempt begins on a busy machine, too."""
NOBODY_S = "nobody_serves_it"


def tools():
    """A new executor of the tools: a feed and its archive, and what is slow, denied, limited or failing."""
    app = feeds()
    app.entered = asyncio.Event()

    @app.tool
    async def slow(of: str) -> str:
        """Take too long."""
        app.entered.set()
        await asyncio.Event().wait()
        return of

    @app.tool(permissions=["financial_operations"])
    async def ledger(of: str) -> str:
        """Look into the books."""
        return of

    @app.tool
    async def metered(of: str) -> str:
        """Answer, as often as the policy says."""
        return of

    @app.tool
    async def broken(of: str) -> str:
        """Fail."""
        raise podium.ToolFailed(of, reason="BROKEN", retryable=True)

    return app


def instead(*, on=("*",)):
    """A link to the archive."""
    return definition_pb2.Fallback(on=on, tool=definition_pb2.ToolFallback(tool="archive"))


async def every_way_run(ana, bob, app):
    """Bob, who may less than Ana, runs the same. Once it has returned, nothing of it goes on."""
    await ana.register(NOBODY_S)
    await degraded_run(ana, app)
    limit = policy_pb2.RateLimit(id="meter", tools=["metered"], count=1, period_ms=3_600_000)
    await apply(ana, policy(breakers=[BREAKER], limits=[limit]))
    items = definition_pb2.ForEach(items_json='["a", "b", "a", "known"]', max_parallel=1)
    value = definition_pb2.Fallback(on=["*"], value_json="0")
    short, unserved = definition_pb2.Timeouts(start_to_close_ms=50), definition_pb2.Timeouts(schedule_to_start_ms=50)
    each = {"of": "${item}"}
    workflows = [
        # Of items: from the archive and its cache, by links behind the open breaker, and failed at last.
        await ana.start(step("archive", each, for_each=items)),
        await ana.start(step("feed", each, for_each=items, fallback=[instead()], on_failure=CONTINUES)),
        await ana.start(step("broken", each, for_each=items, retry=SOON, on_failure=CONTINUES)),
        # Too late in every way, with and without a link.
        await ana.start(step("slow", {"of": "x"}, timeouts=short, retry=ONCE, on_failure=CONTINUES)),
        await ana.start(step("slow", {"of": "x"}, timeouts=short, retry=ONCE, fallback=[instead()])),
        await ana.start(step(NOBODY_S, {"of": "late"}, timeouts=unserved, fallback=[instead()])),
        await ana.start(step(NOBODY_S, {"of": "late"}, timeouts=unserved, on_failure=CONTINUES)),
        # Denied, with and without a link.
        await bob.start(step("ledger", {"of": "x"}, fallback=[instead(on=["DENIED"])])),
        await bob.start(step("ledger", {"of": "x"}, fallback=[value])),
        await bob.start(step("ledger", {"of": "x"}, on_failure=CONTINUES)),
        # A chain that ends with a tool that fails, or a value after it.
        await ana.start(step("ledger", {"of": "x"}, condition="false")),
        await ana.start(step("feed", {"of": "x"}, fallback=[_broken()], on_failure=CONTINUES)),
        await ana.start(step("feed", {"of": "x"}, fallback=[_broken(), value])),
    ]
    for workflow_id in workflows:
        await ana.ended(workflow_id)
    # Out of the time of the whole run: a workflow of which one item runs and one waits, a batch and a call.
    two = definition_pb2.ForEach(items_json='["a", "b"]', max_parallel=1)
    calls = [tool_service_pb2.ToolCall(tool="slow", arguments_json='{"of": "x"}') for _ in range(2)]
    await asyncio.gather(
        ana.ended(await ana.start(step("slow", each, for_each=two), timeout_ms=BEGUN_WITHIN_MS)),
        ana.tools.CallToolBatch(tool_service_pb2.CallToolBatchRequest(calls=calls, timeout_ms=BEGUN_WITHIN_MS)),
        ana.call("slow", {"of": "x"}, timeout_ms=BEGUN_WITHIN_MS),
    )
    for _ in range(2):
        await ana.call("metered", {"of": "x"})
    app.entered.clear()
    canceled = await ana.start(step("slow", {"of": "x"}))
    await app.entered.wait()
    await ana.cancel(canceled)
    await ana.ended(canceled)


def _broken():
    return definition_pb2.Fallback(on=["*"], tool=definition_pb2.ToolFallback(tool="broken"))
