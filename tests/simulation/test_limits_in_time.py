"""Rate limits on virtual time: what waits for one waits as long as it says, in its order, and wakes nobody else."""

import dataclasses

import pytest

from podium.v1 import definition_pb2, policy_pb2, tool_service_pb2
from service.domain.permissions import DEFAULT_POLICY
from service.engine import policies
from tests.simulation.stage import play, step
from tests.simulation.virtual_time import elapse

A_MOMENT_S = 0.2
MINUTE_MS = 60_000
TEN_A_MINUTE = policy_pb2.RateLimit(
    id="ten",
    count=10,
    period_ms=MINUTE_MS,
    per=[policy_pb2.LIMIT_KEY_SUBJECT, policy_pb2.LIMIT_KEY_TOOL],
)


@pytest.fixture
def limited(monkeypatch):
    """Puts limits into the policy of every tenant."""

    def put(*limits):
        monkeypatch.setattr(policies, "DEFAULT_POLICY", dataclasses.replace(DEFAULT_POLICY, limits=limits))

    return put


async def run_all(stage, executor, count):
    """The seconds at which so many assignments came, each done at once."""
    times, order = [], []
    for _ in range(count):
        assigned = await executor.hear("assign")
        times.append(stage.now_s)
        order.append(assigned.attempt.workflow_id)
        executor.succeed(assigned)
    return times, order


def test_the_eleventh_step_of_a_minute_waits_for_its_slot_and_then_runs(limited):
    limited(TEN_A_MINUTE)

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        began_s = stage.now_s
        workflows = [await stage.start(step("only")) for _ in range(12)]
        times, order = await run_all(stage, executor, 12)
        assert order == workflows
        assert max(times[:10]) - began_s < A_MOMENT_S
        assert [at - began_s for at in times[10:]] == pytest.approx([6, 12], abs=A_MOMENT_S)
        for workflow_id in workflows:
            await stage.until_ended(workflow_id)
        (limited_event,) = stage.log.of_kind(workflows[10], "rate_limited")
        assert (limited_event.step_id, limited_event.limit) == ("only", "ten")
        (queued,) = stage.log.of_kind(workflows[10], "step_queued")
        assert queued.waits_for == "the limit ten"
        assert stage.log.of_kind(workflows[0], "rate_limited") == []

    play(scene)


def test_a_direct_call_is_refused_and_told_when_to_come_back(limited):
    limited(TEN_A_MINUTE)

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        for _ in range(10):
            await stage.start(step("only"))
        await run_all(stage, executor, 10)
        call = tool_service_pb2.CallToolRequest(call=tool_service_pb2.ToolCall(tool="work", arguments_json="{}"))
        answer = await stage.ask("tools", "CallTool", call)
        failure = answer.outcome.failure
        assert failure.reason == "RATE_LIMITED"
        assert failure.retry_after_ms == pytest.approx(6000, abs=200)
        kinds = [stage.log.of_kind(answer.workflow_id, kind) for kind in ("rate_limited", "step_denied", "step_queued")]
        assert [len(found) for found in kinds] == [1, 1, 0]
        await elapse(60)
        assert stage.log.of_kind(answer.workflow_id, "attempt_started") == []

    play(scene)


def test_a_step_that_waits_for_a_limit_keeps_its_time_to_start(limited):
    limited(TEN_A_MINUTE)

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        for _ in range(10):
            await stage.start(step("only"))
        await run_all(stage, executor, 10)
        late = await stage.start(step("only", timeouts=definition_pb2.Timeouts(schedule_to_start_ms=3_000)))
        began_s = stage.now_s
        behind = await stage.start(step("only"))
        await stage.until_ended(late)
        assert stage.now_s - began_s == pytest.approx(3, abs=A_MOMENT_S)
        (failed,) = stage.log.of_kind(late, "step_failed")
        assert failed.failure.reason == "SCHEDULE_TO_START_TIMEOUT"
        # Whoever left the line uses no slot of it.
        assert (await executor.hear("assign")).attempt.workflow_id == behind
        assert stage.now_s - began_s == pytest.approx(6, abs=A_MOMENT_S)

    play(scene)


def test_hundreds_of_steps_that_wait_are_asked_about_once_a_slot(limited, monkeypatch):
    limited(policy_pb2.RateLimit(id="one", count=60, period_ms=MINUTE_MS, burst=1))

    async def scene(stage):
        asked = []
        pipeline = stage.life.engine._turns._pipeline  # noqa: SLF001 - counts what nobody is told
        admit = pipeline.admit
        monkeypatch.setattr(pipeline, "admit", lambda *request: asked.append(request) or admit(*request))
        executor = await stage.executor(max_attempts=1000)
        workflow_id = await stage.start(*(step(f"s{number}") for number in range(300)))
        times, _ = await run_all(stage, executor, 300)
        await stage.until_ended(workflow_id)
        assert times[-1] - times[0] == pytest.approx(299, abs=A_MOMENT_S)
        assert len(asked) <= 2 * 300 + 10
        started = [each.step_id for each in stage.log.of_kind(workflow_id, "attempt_started")]
        assert started == [f"s{number}" for number in range(300)]
        assert len(stage.log.of_kind(workflow_id, "rate_limited")) == 299

    play(scene)


def test_a_step_that_queues_for_a_place_is_counted_once_when_it_starts(limited):
    limited(policy_pb2.RateLimit(id="two", count=2, period_ms=MINUTE_MS))

    async def scene(stage):
        executor = await stage.executor(max_attempts=1)
        workflow_id = await stage.start(*(step(f"s{number}") for number in range(2)))
        first = await executor.hear("assign")
        await elapse(5)
        executor.succeed(first)
        # Had it been counted when it queued, it would wait for half a minute now.
        second = await executor.hear("assign")
        executor.succeed(second)
        await stage.until_ended(workflow_id, 2)

    play(scene)


def test_what_was_counted_survives_a_crash_and_so_do_those_who_wait(limited):
    limited(TEN_A_MINUTE)

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        began_s = stage.now_s
        for _ in range(10):
            await stage.start(step("only"))
        await run_all(stage, executor, 10)
        waiting = [await stage.start(step("only")) for _ in range(3)]
        await elapse(1)
        await stage.crash_and_begin()
        executor = await stage.executor("another", max_attempts=100)
        times, order = await run_all(stage, executor, 3)
        # In the order in which they were folded: who came first is not remembered over a crash.
        assert sorted(order) == sorted(waiting)
        assert [at - began_s for at in times] == pytest.approx([6, 12, 18], abs=2 * A_MOMENT_S)
        assert len(stage.log.of_kind(waiting[0], "rate_limited")) == 1

    play(scene)


def test_a_limit_that_is_lifted_lets_those_who_wait_through(limited, monkeypatch):
    limited(policy_pb2.RateLimit(id="daily", count=1, period_ms=24 * 3_600_000))

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        workflow_id = await stage.start(*(step(f"s{number}") for number in range(3)))
        executor.succeed(await executor.hear("assign"))
        await elapse(10)
        assert len(stage.log.of_kind(workflow_id, "attempt_started")) == 1
        monkeypatch.setattr(policies, "DEFAULT_POLICY", DEFAULT_POLICY)
        for _ in range(2):
            executor.succeed(await executor.hear("assign"))
        await stage.until_ended(workflow_id, 10)

    play(scene)


def test_a_step_without_an_executor_does_not_hold_up_those_behind_it(limited):
    limited(policy_pb2.RateLimit(id="all", count=60, period_ms=MINUTE_MS, burst=1))

    async def scene(stage):
        nobody = definition_pb2.ToolDefinition(name="nobody_serves", input_schema_json='{"type": "object"}')
        await stage.ask("tools", "RegisterTool", tool_service_pb2.RegisterToolRequest(definition=nobody))
        executor = await stage.executor(max_attempts=100)
        first = await stage.start(step("only"))
        stuck = await stage.start(step("only", uses="nobody_serves"))
        behind = [await stage.start(step("only")) for _ in range(3)]
        times, order = await run_all(stage, executor, 4)
        assert order == [first, *behind]
        assert times[-1] - times[0] < 6
        assert not stage.log.ended(stuck)

    play(scene)
