"""Breakers in the engine, in virtual time: what ends, what waits, what is recorded and with what."""

import dataclasses

import pytest

from podium.v1 import events_pb2, policy_pb2, workflow_service_pb2
from service.domain.permissions import DEFAULT_POLICY
from service.engine import policies
from tests.simulation.service_life import TENANT
from tests.simulation.stage import play, step
from tests.simulation.virtual_time import elapse

OPEN, HALF_OPEN, CLOSED = (
    events_pb2.BREAKER_STATE_OPEN,
    events_pb2.BREAKER_STATE_HALF_OPEN,
    events_pb2.BREAKER_STATE_CLOSED,
)
STREAM = "breaker/work"
SIMPLE = policy_pb2.BreakerRule(id="simple", failure_threshold=3, recovery_timeout_ms=10_000, success_threshold=2)


@pytest.fixture
def ruled(monkeypatch):
    """Puts breakers into the policy that tenants have."""

    def put(*rules):
        monkeypatch.setattr(policies, "DEFAULT_POLICY", dataclasses.replace(DEFAULT_POLICY, breakers=rules))

    return put


def once(step_id="only", **more):
    """A step that is tried once."""
    one = step(step_id, **more)
    one.retry.max_attempts = 1
    return one


async def run(stage, executor, *, fails):
    """Runs a workflow of one step, which succeeds or fails."""
    workflow_id = await stage.start(once())
    assigned = await executor.hear("assign")
    (executor.fail if fails else executor.succeed)(assigned)
    await stage.until_ended(workflow_id)
    return workflow_id


async def opened(stage, executor, failures=3):
    return [await run(stage, executor, fails=True) for _ in range(failures)]


def transitions(stage):
    return [(each.from_state, each.to_state, each.reason) for each in stage.log.of_kind(STREAM, "breaker_transitioned")]


def rejected(stage, workflow_id):
    return stage.log.of_kind(workflow_id, "attempt_rejected")


def test_it_opens_goes_half_open_and_closes_and_each_is_recorded_with_what_caused_it(ruled):
    ruled(SIMPLE)

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        failed = await opened(stage, executor)
        (opening,) = stage.log.of_kind(STREAM, "breaker_transitioned")
        assert (opening.reason, opening.workflow_id, opening.step_id, opening.attempt) == (
            "FAILURES_IN_A_ROW",
            failed[-1],
            "only",
            1,
        )
        assert (opening.figures.failures_in_a_row, opening.rule) == (3, "simple")
        refused = await stage.start(once())
        await stage.until_ended(refused)
        (rejection,) = rejected(stage, refused)
        assert (rejection.guard, rejection.failure.reason) == ("breaker", "BREAKER_OPEN")
        assert 9_000 < rejection.failure.retry_after_ms <= 10_000
        await elapse(10)
        for _ in range(2):
            await run(stage, executor, fails=False)
        assert transitions(stage) == [
            (CLOSED, OPEN, "FAILURES_IN_A_ROW"),
            (OPEN, HALF_OPEN, "RECOVERY_TIMEOUT"),
            (HALF_OPEN, CLOSED, "SUCCESSES_IN_A_ROW"),
        ]

    play(scene)


def test_a_thousand_that_wait_send_exactly_the_permits_through_and_then_all(ruled):
    ruled(
        policy_pb2.BreakerRule(
            id="waits",
            when_open=policy_pb2.WHEN_OPEN_WAIT,
            failure_threshold=3,
            recovery_timeout_ms=10_000,
            success_threshold=10,
        )
    )

    async def scene(stage):
        executor = await stage.executor(max_attempts=2_000)
        await opened(stage, executor)
        workflow_id = await stage.start(*(once(f"s{number}") for number in range(1_000)))
        await elapse(9)
        assert stage.log.of_kind(workflow_id, "attempt_started") == []
        await elapse(7)
        started = stage.log.of_kind(workflow_id, "attempt_started")
        assert [each.step_id for each in started] == [f"s{number}" for number in range(10)]
        for _ in range(10):
            executor.succeed(await executor.hear("assign"))
        began_s = stage.now_s
        for _ in range(990):
            executor.succeed(await executor.hear("assign"))
        await stage.until_ended(workflow_id)
        assert stage.now_s - began_s < 3
        assert transitions(stage)[-1] == (HALF_OPEN, CLOSED, "SUCCESSES_IN_A_ROW")
        assert len(stage.log.of_kind(workflow_id, "step_queued")) == 1_000

    play(scene)


def test_the_room_of_a_woken_step_that_is_canceled_is_used_at_once(ruled):
    ruled(
        policy_pb2.BreakerRule(
            id="waits",
            tools=["work"],
            when_open=policy_pb2.WHEN_OPEN_WAIT,
            failure_threshold=1,
            recovery_timeout_ms=4_000,
            success_threshold=1,
        )
    )

    async def scene(stage):
        executor = await stage.executor(max_attempts=1)
        await opened(stage, executor, failures=1)
        first, second = await stage.start(once()), await stage.start(once())
        await elapse(1)
        await stage.start(step("other", "watched"))
        other = await executor.hear("assign")
        for _ in range(4):
            executor.beat(other)
            await elapse(1)
        # The first was woken, and waits for the only place.
        request = workflow_service_pb2.CancelWorkflowRequest(workflow_id=first)
        await stage.ask("workflows", "CancelWorkflow", request)
        canceled_s = stage.now_s
        executor.succeed(other)
        assert (await executor.hear("assign")).attempt.workflow_id == second
        assert stage.now_s - canceled_s < 1

    play(scene)


def test_state_counts_and_permits_survive_a_crash(ruled):
    ruled(policy_pb2.BreakerRule(id="r", failure_threshold=3, recovery_timeout_ms=10_000, success_threshold=2))

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        await run(stage, executor, fails=True)
        await run(stage, executor, fails=True)
        await stage.crash_and_begin()
        executor = await stage.executor("two", max_attempts=100)
        # The third in a row, of which the process saw one.
        await run(stage, executor, fails=True)
        assert transitions(stage) == [(CLOSED, OPEN, "FAILURES_IN_A_ROW")]
        opened_s = stage.now_s
        await stage.crash_and_begin()
        executor = await stage.executor("three", max_attempts=100)
        refused = await stage.start(once())
        await stage.until_ended(refused)
        assert rejected(stage, refused)
        await elapse(10 - (stage.now_s - opened_s))
        under_way = await stage.start(once())
        held = await executor.hear("assign")
        assert transitions(stage)[-1] == (OPEN, HALF_OPEN, "RECOVERY_TIMEOUT")
        await stage.crash_and_begin()
        executor = await stage.executor("three", holding=[held], max_attempts=100)
        assert stage.kept(executor) == [True]
        # One of two permits is out, with an attempt that runs through the crash.
        second, third = await stage.start(once()), await stage.start(once())
        assigned = await executor.hear("assign")
        assert assigned.attempt.workflow_id == second
        await stage.until_ended(third)
        assert rejected(stage, third)
        executor.succeed(held)
        executor.succeed(assigned)
        await stage.until_ended(under_way)
        await stage.until_ended(second)
        assert transitions(stage)[-1] == (HALF_OPEN, CLOSED, "SUCCESSES_IN_A_ROW")

    play(scene)


def test_what_an_executor_that_is_lost_or_a_workflow_that_is_canceled_had_comes_back(ruled):
    ruled(policy_pb2.BreakerRule(id="r", failure_threshold=1, recovery_timeout_ms=1_000, success_threshold=2))

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        await opened(stage, executor, failures=1)
        await elapse(1)
        canceled = await stage.start(once())
        await executor.hear("assign")
        request = workflow_service_pb2.CancelWorkflowRequest(workflow_id=canceled)
        await stage.ask("workflows", "CancelWorkflow", request)
        await stage.until_ended(canceled)
        lost = await stage.start(once())
        await executor.hear("assign")
        executor.vanish()
        await stage.until_ended(lost)
        # Whoever was canceled counts nothing; a lost executor is a failure.
        assert transitions(stage)[-1] == (HALF_OPEN, OPEN, "HALF_OPEN_FAILURE")
        executor = await stage.executor("two", max_attempts=100)
        await elapse(1)
        for _ in range(2):
            await run(stage, executor, fails=False)
        assert transitions(stage)[-1] == (HALF_OPEN, CLOSED, "SUCCESSES_IN_A_ROW")

    play(scene)


@pytest.mark.parametrize(("ending", "held_s"), [("canceled", 3), ("out of time", 2)])
def test_the_permit_of_an_attempt_without_an_answer_comes_back_when_it_is_given_up(ruled, ending, held_s):
    # Its executor hears of a cancel and has the grace to answer; a workflow that is out of time has none.
    ruled(
        policy_pb2.BreakerRule(
            id="r",
            when_open=policy_pb2.WHEN_OPEN_WAIT,
            failure_threshold=1,
            recovery_timeout_ms=1_000,
            success_threshold=1,
            half_open_permits=1,
            # Else it would open the breaker again.
            ignore=["WORKFLOW_TIMEOUT"],
        )
    )

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        await opened(stage, executor, failures=1)
        await elapse(1)
        request = workflow_service_pb2.StartWorkflowRequest(
            steps=[once()], timeout_ms=2_000 if ending == "out of time" else 0
        )
        ended = (await stage.ask("workflows", "StartWorkflow", request)).workflow_id
        await executor.hear("assign")
        waiting = await stage.start(once())
        if ending == "canceled":
            cancel = workflow_service_pb2.CancelWorkflowRequest(workflow_id=ended)
            await stage.ask("workflows", "CancelWorkflow", cancel)
        await elapse(held_s - 0.5)
        assert stage.log.of_kind(waiting, "attempt_started") == []
        began_s = stage.now_s
        assigned = await executor.hear("assign")
        assert assigned.attempt.workflow_id == waiting
        assert stage.now_s - began_s < 1
        assert stage.log.ended(ended)
        executor.succeed(assigned)
        await stage.until_ended(waiting)
        assert transitions(stage)[-1] == (HALF_OPEN, CLOSED, "SUCCESSES_IN_A_ROW")

    play(scene)


async def hung(stage, executor, *steps, timeout_ms=1_000):
    """A workflow out of whose time the tool does not answer."""
    request = workflow_service_pb2.StartWorkflowRequest(steps=steps or [once()], timeout_ms=timeout_ms)
    workflow_id = (await stage.ask("workflows", "StartWorkflow", request)).workflow_id
    await executor.hear("assign")
    await stage.until_ended(workflow_id)
    return workflow_id


def test_a_tool_that_hangs_until_its_workflow_is_out_of_time_opens_its_breaker_also_across_a_crash(ruled):
    ruled(SIMPLE)

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        for _ in range(2):
            await hung(stage, executor)
        assert transitions(stage) == []
        await stage.crash_and_begin()
        executor = await stage.executor("two", max_attempts=100)
        last = await hung(stage, executor)
        (opening,) = stage.log.of_kind(STREAM, "breaker_transitioned")
        assert (opening.reason, opening.figures.failures_in_a_row) == ("FAILURES_IN_A_ROW", 3)
        (cause,) = stage.log.of_kind(last, "attempt_failed")
        assert (opening.workflow_id, opening.step_id, opening.attempt) == (last, cause.step_id, cause.attempt)
        assert cause.failure.reason == "WORKFLOW_TIMEOUT"
        refused = await stage.start(once())
        await stage.until_ended(refused)
        assert rejected(stage, refused)

    play(scene)


@pytest.mark.parametrize("reason", ["WORKFLOW_TIMEOUT", "TIMEOUT"])
def test_a_rule_may_ignore_that_a_run_was_out_of_time(ruled, reason):
    ruled(policy_pb2.BreakerRule(id="r", failure_threshold=1, ignore=[reason]))

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        for _ in range(3):
            await hung(stage, executor)
        assert transitions(stage) == []
        await opened(stage, executor, failures=1)
        assert transitions(stage) == [(CLOSED, OPEN, "FAILURES_IN_A_ROW")]

    play(scene)


@pytest.mark.parametrize("answers", [False, True])
def test_a_run_that_was_canceled_before_its_time_was_over_counts_nothing(ruled, answers):
    ruled(policy_pb2.BreakerRule(id="r", failure_threshold=1))

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        for timeout_ms in (1_000, 60_000):
            request = workflow_service_pb2.StartWorkflowRequest(steps=[once()], timeout_ms=timeout_ms)
            canceled = (await stage.ask("workflows", "StartWorkflow", request)).workflow_id
            assigned = await executor.hear("assign")
            cancel = workflow_service_pb2.CancelWorkflowRequest(workflow_id=canceled)
            await stage.ask("workflows", "CancelWorkflow", cancel)
            if answers:
                executor.fail(assigned, "CANCELED")
            await stage.until_ended(canceled)
            assert len(stage.log.of_kind(canceled, "attempt_abandoned")) == (not answers)
            assert len(stage.log.of_kind(canceled, "attempt_failed")) == answers
        assert transitions(stage) == []
        await hung(stage, executor)
        assert transitions(stage) == [(CLOSED, OPEN, "FAILURES_IN_A_ROW")]

    play(scene)


def test_of_the_items_of_a_run_that_is_out_of_time_each_counts_and_each_permit_comes_back_once(ruled):
    ruled(
        policy_pb2.BreakerRule(
            id="r",
            failure_threshold=3,
            recovery_timeout_ms=10_000,
            success_threshold=3,
            half_open_permits=3,
        )
    )

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        items = once("all")
        items.for_each.items_json = "[1, 2, 3, 4, 5]"
        last = await hung(stage, executor, items)
        assert len(stage.log.of_kind(last, "attempt_failed")) == 5
        assert transitions(stage) == [(CLOSED, OPEN, "FAILURES_IN_A_ROW")]
        (opening,) = stage.log.of_kind(STREAM, "breaker_transitioned")
        assert opening.step_id == "all[2]"
        for _ in range(4):
            await executor.hear("assign")
        # What a restart finds is what there was: nothing counted beyond the third, and nothing under way.
        before = told(stage)
        assert (before.state, before.permits_taken, before.last_transition) == (OPEN, 0, opening)
        await stage.crash_and_begin()
        assert told(stage) == before
        executor = await stage.executor("two", max_attempts=100)
        await elapse(10)
        # Three are let through half-open; the first failure opens it again, and all permits are back.
        three = [once(name) for name in "abc"]
        await hung(stage, executor, *three)
        assert transitions(stage)[1:] == [(OPEN, HALF_OPEN, "RECOVERY_TIMEOUT"), (HALF_OPEN, OPEN, "HALF_OPEN_FAILURE")]
        assert told(stage).permits_taken == 0
        await elapse(10)
        for _ in range(2):
            await executor.hear("assign")
        workflow_id = await stage.start(*three)
        for _ in three:
            executor.succeed(await executor.hear("assign"))
        await stage.until_ended(workflow_id)
        assert transitions(stage)[-1] == (HALF_OPEN, CLOSED, "SUCCESSES_IN_A_ROW")

    play(scene)


def told(stage):
    """What an operator is told of the breaker, but for the moment of its last change, of which the log has its own."""
    breaker = stage.life.breakers.read(TENANT, "work")
    breaker.ClearField("changed_at_us")
    return breaker


def test_those_who_wait_are_served_after_a_half_open_that_lasts_too_long(ruled):
    ruled(
        policy_pb2.BreakerRule(
            id="r",
            when_open=policy_pb2.WHEN_OPEN_WAIT,
            failure_threshold=1,
            recovery_timeout_ms=1_000,
            success_threshold=1,
            half_open_permits=1,
            half_open_max_ms=2_000,
        )
    )

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        await opened(stage, executor, failures=1)
        await elapse(1)
        hung = await stage.start(once())
        await executor.hear("assign")
        began_s = stage.now_s
        waiting = [await stage.start(once()) for _ in range(3)]
        assigned = await executor.hear("assign")
        # Two seconds half-open, and one open.
        assert 2.9 < stage.now_s - began_s < 3.5
        assert not stage.log.ended(hung)
        executor.succeed(assigned)
        for _ in range(2):
            executor.succeed(await executor.hear("assign"))
        for workflow_id in waiting:
            await stage.until_ended(workflow_id)
        assert transitions(stage)[2:] == [
            (HALF_OPEN, OPEN, "HALF_OPEN_TIMEOUT"),
            (OPEN, HALF_OPEN, "RECOVERY_TIMEOUT"),
            (HALF_OPEN, CLOSED, "SUCCESSES_IN_A_ROW"),
        ]

    play(scene)


def test_a_transition_whose_append_was_refused_is_recorded_by_the_next_turn(ruled):
    ruled(policy_pb2.BreakerRule(id="r", failure_threshold=1, recovery_timeout_ms=5_000))

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        workflow_id = await stage.start(once())
        assigned = await executor.hear("assign")
        with stage.refusing_appends():
            executor.fail(assigned)
            await elapse(0.2)
        assert transitions(stage) == []
        # The same outcome is told again or found out, and counts once.
        refused = await stage.start(once())
        await stage.until_ended(refused)
        assert rejected(stage, refused)
        assert transitions(stage) == [(CLOSED, OPEN, "FAILURES_IN_A_ROW")]
        executor.fail(assigned)
        await stage.until_ended(workflow_id)
        assert transitions(stage) == [(CLOSED, OPEN, "FAILURES_IN_A_ROW")]

    play(scene)


def test_the_timeout_of_the_rule_ends_the_attempt_when_it_is_the_shorter(ruled):
    ruled(policy_pb2.BreakerRule(id="r", failure_threshold=1, timeout_ms=2_000))

    async def scene(stage):
        executor = await stage.executor(max_attempts=100)
        began_s = stage.now_s
        workflow_id = await stage.start(once())
        await executor.hear("assign")
        await stage.until_ended(workflow_id)
        assert 2 <= stage.now_s - began_s < 2.5
        assert transitions(stage) == [(CLOSED, OPEN, "FAILURES_IN_A_ROW")]

    play(scene)
