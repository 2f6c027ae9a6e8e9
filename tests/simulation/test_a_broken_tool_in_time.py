"""An hour with a tool that fails 40 % of its calls, in virtual time: with a breaker, a chain and old results, or not.

The chain is an old result of the same question, then another tool, which fails too now and then.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass

import pytest

from podium.v1 import definition_pb2, policy_pb2
from service.domain.permissions import DEFAULT_POLICY
from service.engine import policies
from service.tasks import Tasks
from tests.simulation import stage as stages
from tests.simulation.executors import tool
from tests.simulation.stage import play, step
from tests.simulation.virtual_time import SeededChance, elapse

HOUR_S = 3_600
EVERY_S = 4
QUESTIONS = 20
BROKEN_FAILS, BACKUP_FAILS = 0.4, 0.05
CACHING = definition_pb2.Caching(ttl_ms=1_000, stale_ms=2 * HOUR_S * 1_000)
BROKEN = tool("broken", read_only=True, caching=CACHING)
BACKUP = tool("backup", read_only=True)
BREAKER = policy_pb2.BreakerRule(
    id="broken",
    tools=["broken"],
    window=policy_pb2.BreakerWindow(
        kind=policy_pb2.WINDOW_KIND_COUNT, size=20, minimum_calls=10, failure_rate=30, slow_call_rate=100
    ),
    recovery_timeout_ms=60_000,
    recovery_multiplier=2,
    recovery_max_ms=600_000,
    success_threshold=5,
)
AT_BACKUP = definition_pb2.ToolFallback(tool="backup", retry=definition_pb2.RetryPolicy(max_attempts=3))
CHAIN = (
    definition_pb2.Fallback(on=["*"], stale=definition_pb2.StaleFallback()),
    definition_pb2.Fallback(on=["*"], tool=AT_BACKUP),
)


@dataclass
class Hour:
    """What came of it."""

    asked: int
    succeeded: int
    degraded: int
    calls: int
    """Calls that were sent to the broken tool."""
    opened: int

    @property
    def availability(self):
        return self.succeeded / self.asked


async def answer(executor, chance, calls):
    """Both tools, for as long as the play lasts: each fails as often as it does."""
    while True:
        assigned = await executor.hear("assign")
        calls[assigned.tool] += 1
        fails = BROKEN_FAILS if assigned.tool == "broken" else BACKUP_FAILS
        (executor.fail if chance.chance() < fails else executor.succeed)(assigned)
        # What else it is told is of no interest.
        executor._heard.clear()  # noqa: SLF001 - an hour of it would be read again for each


def one_hour(monkeypatch, *, protected):
    """A question every few seconds, asked with a breaker and a chain or without."""
    breakers = (BREAKER,) if protected else ()
    monkeypatch.setattr(policies, "DEFAULT_POLICY", dataclasses.replace(DEFAULT_POLICY, breakers=breakers))
    monkeypatch.setattr(stages, "TOOLS", (BROKEN, BACKUP))

    async def scene(stage):
        asked, calls, tasks = [], Counter(), Tasks()
        tasks.spawn(
            answer(await stage.executor(max_attempts=100, tools=(BROKEN, BACKUP)), SeededChance("broken"), calls)
        )
        for number in range(HOUR_S // EVERY_S):
            question = step("ask", "broken", arguments_json=f'{{"question": {number % QUESTIONS}}}')
            question.fallback.extend(CHAIN if protected else ())
            asked.append(await stage.start(question))
            await elapse(EVERY_S)
        for workflow_id in asked:
            await stage.until_ended(workflow_id)
        await tasks.close()
        done = [each for workflow_id in asked for each in stage.log.of_kind(workflow_id, "step_succeeded")]
        started = [each for workflow_id in asked for each in stage.log.of_kind(workflow_id, "attempt_started")]
        assert len(started) == calls.total()
        opened = len(stage.log.of_kind("breaker/broken", "breaker_transitioned"))
        degraded = sum(bool(each.degraded_by) for each in done)
        return Hour(len(asked), len(done), degraded, calls["broken"], opened)

    return play(scene)


def test_it_is_hardly_called_and_nearly_every_question_is_answered(monkeypatch):
    hour = one_hour(monkeypatch, protected=True)
    assert hour.asked == HOUR_S // EVERY_S
    assert hour.availability > 0.999
    assert hour.degraded > 0.8 * hour.asked, "the answers say that they are degraded"
    assert hour.opened >= 3
    assert hour.calls <= 0.1 * hour.asked, "without a breaker each question is a call"


def test_without_breaker_and_chain_it_fails_as_often_as_the_tool_does_in_all_attempts(monkeypatch):
    """Negative control."""
    hour = one_hour(monkeypatch, protected=False)
    assert hour.availability == pytest.approx(1 - BROKEN_FAILS**3, abs=0.03)
    assert hour.calls == pytest.approx(hour.asked * (1 + BROKEN_FAILS + BROKEN_FAILS**2), rel=0.1)
    assert (hour.opened, hour.degraded) == (0, 0)
