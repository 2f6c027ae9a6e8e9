"""Steps that wait for one thing after the other, in virtual time: when they have ended, no line knows them any more."""

import dataclasses
from operator import attrgetter

import pytest

from podium.v1 import definition_pb2, policy_pb2, tool_service_pb2
from service.domain.permissions import DEFAULT_POLICY
from service.engine import policies
from service.engine.lines import WaitingSteps
from tests.simulation.executors import tool
from tests.simulation.stage import TOOLS, play, step

CACHED = tool("cached", read_only=True)
CACHED.caching.CopyFrom(definition_pb2.Caching(ttl_ms=60_000, shared=True))
KEPT = (
    *(f"engine.effects.waiting.{name}" for name in ("_tools", "_lines", "_alone")),
    *(f"_rate_limits._lines.{name}" for name in ("_lines", "_tickets")),
    *(f"_resilience.bulkheads.{name}" for name in ("_lines", "_queued", "_running")),
    *(f"_resilience.cache.guard.flights.{name}" for name in ("_by_key", "_leading", "_ending", "_waiting", "_given")),
)
"""Where a service keeps steps that wait, and their lines."""


@pytest.fixture
def ruled(monkeypatch):
    """A limit, a breaker that lets wait, and a bulkhead for every tool."""
    rules = {
        "limits": [policy_pb2.RateLimit(id="l", count=1_000, period_ms=1_000, burst=1)],
        "breakers": [
            policy_pb2.BreakerRule(
                id="r", failure_threshold=1, recovery_timeout_ms=2_000, when_open=policy_pb2.WHEN_OPEN_WAIT
            )
        ],
        "bulkheads": [policy_pb2.Bulkhead(id="b", max_concurrent=2)],
    }
    monkeypatch.setattr(policies, "DEFAULT_POLICY", dataclasses.replace(DEFAULT_POLICY, **rules))


async def everything_waits(stage):
    """Steps of a tool that fails once, and of one whose calls are the same."""
    await stage.ask("tools", "RegisterTool", tool_service_pb2.RegisterToolRequest(definition=CACHED))
    executor = await stage.executor(max_attempts=1_000, tools=(*TOOLS, CACHED))
    plain, same = [step(f"p{number}") for number in range(20)], [step(f"c{number}", "cached") for number in range(20)]
    # Who comes later finds the breaker open, and has waited for the limit when it waits for the breaker.
    first = await stage.start(step("first"))
    executor.fail(await executor.hear("assign"))
    await stage.until(lambda: stage.log.of_kind(first, "attempt_failed"))
    workflow_id = await stage.start(*plain, *same)
    # The first again, each of the plain ones, and one of those whose calls are the same.
    for _ in range(1 + len(plain) + 1):
        executor.succeed(await executor.hear("assign"))
    await stage.until_ended(first)
    await stage.until_ended(workflow_id)


def left_over(life):
    """How many steps and lines are still known, by where; nothing where none is."""
    places = [(life, path) for path in KEPT] + [
        (kept.line, name)
        for kept in attrgetter("_resilience._breaker_guard._book")(life)
        for name in ("_waiting", "_woken", "_tickets")
    ]
    assert len(places) > len(KEPT), "a breaker was asked"
    counts = {f"{type(owner).__name__}.{path}": len(attrgetter(path)(owner)) for owner, path in places}
    return {where: count for where, count in counts.items() if count}


def test_steps_that_waited_in_one_line_after_the_other_leave_nothing_behind_in_any(ruled, monkeypatch):
    stood_in: dict[str, set[str]] = {}
    whole = WaitingSteps._stand_in  # noqa: SLF001 - it is only watched

    def watched(waiting, key, line):
        whole(waiting, key, line)
        stood_in.setdefault(key.step_id, set()).add(type(line).__name__)

    monkeypatch.setattr(WaitingSteps, "_stand_in", watched)

    async def scene(stage):
        await everything_waits(stage)
        assert set().union(*stood_in.values()) == {"Line", "BreakerLine", "BulkheadLine", "Flight"}
        assert {"Line", "BreakerLine", "BulkheadLine"} in stood_in.values()
        assert left_over(stage.life) == {}

    play(scene)


def test_a_step_that_leaves_only_the_last_of_its_lines_is_found_in_the_others(ruled, monkeypatch):
    whole = WaitingSteps._stand_in  # noqa: SLF001 - it forgets what it must not

    def forgetful(waiting, key, line):
        whole(waiting, key, line)
        del waiting._lines[key][:-1]  # noqa: SLF001 - as above

    monkeypatch.setattr(WaitingSteps, "_stand_in", forgetful)

    async def scene(stage):
        await everything_waits(stage)
        assert left_over(stage.life)

    play(scene)
