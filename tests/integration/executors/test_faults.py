"""Executors that hang, die, flap, answer late, answer twice or with another's fence: each outcome is right, once, and
every place and permit comes back.

A bulkhead lets one attempt run at once and a breaker, once open, tries with one: were either kept by a fault, what
follows would never run.
"""

import contextlib

import pytest

from podium.v1 import definition_pb2, executor_service_pb2, monitoring_service_pb2, policy_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.policies import apply, policy
from tests.integration.rig.raw_executor import raw_executor, tool

WORK = tool("work", idempotent=True)
TIMEOUT_MS = 400
BOUNDS = {
    "timeouts": definition_pb2.Timeouts(start_to_close_ms=TIMEOUT_MS),
    "retry": definition_pb2.RetryPolicy(max_attempts=3, initial_backoff_ms=50, max_backoff_ms=50),
}
PATIENT = {**BOUNDS, "timeouts": definition_pb2.Timeouts(start_to_close_ms=20_000)}
NARROW = policy(
    bulkheads=[policy_pb2.Bulkhead(id="one", max_concurrent=1)],
    breakers=[
        policy_pb2.BreakerRule(
            id="quick", failure_threshold=1, recovery_timeout_ms=20, success_threshold=1, half_open_permits=1
        )
    ],
)


class Scene:
    """A workflow of one step whose first attempt has been given to an executor."""

    def __init__(self, caller, stack):
        self.caller = caller
        self._stack = stack
        self.executor = None
        self.given = None

    async def connect(self, instance="first", holding=()):
        held = [executor_service_pb2.HeldAttempt(attempt=attempt) for attempt in holding]
        entered = self._stack.enter_async_context(
            raw_executor(self.caller, WORK, instance_id=instance, holding=held, max_attempts=8)
        )
        self.executor = await entered
        return self.executor

    async def accepted(self):
        return (await self.executor.expect("outcome_acknowledged")).accepted

    async def next_attempt_succeeds(self):
        """The attempt after the one at fault."""
        again = await self.executor.work()
        assert again.attempt.fence > self.given.attempt.fence
        assert again.idempotency_key == self.given.idempotency_key
        await self.executor.succeed(again.attempt, "second")
        assert await self.accepted()


async def hangs(scene):
    await scene.executor.expect("cancel")
    await scene.next_attempt_succeeds()


async def answers_late(scene):
    await scene.executor.expect("cancel")
    await scene.executor.succeed(scene.given.attempt, "late")
    assert not await scene.accepted()
    await scene.next_attempt_succeeds()


async def dies(scene):
    scene.executor.stream.cancel()
    await scene.connect("second")
    await scene.next_attempt_succeeds()


async def flaps(scene):
    scene.executor.stream.cancel()
    back = await scene.connect(holding=[scene.given.attempt])
    assert back.welcome.held[0].action == executor_service_pb2.HeldVerdict.ACTION_KEEP
    await back.succeed(scene.given.attempt, "first")
    assert await scene.accepted()


async def answers_twice(scene):
    for _ in range(2):
        await scene.executor.succeed(scene.given.attempt, "first")
    assert [await scene.accepted() for _ in range(2)] == [True, False]


async def answers_with_another_fence(scene):
    stale = executor_service_pb2.AttemptReference()
    stale.CopyFrom(scene.given.attempt)
    stale.fence += 1
    await scene.executor.succeed(stale, "forged")
    assert not await scene.accepted()
    await scene.executor.succeed(scene.given.attempt, "first")
    assert await scene.accepted()


FAULTS = [
    (hangs, BOUNDS, ["TIMEOUT"], '"second"'),
    (answers_late, BOUNDS, ["TIMEOUT"], '"second"'),
    (dies, PATIENT, ["EXECUTOR_LOST"], '"second"'),
    (flaps, PATIENT, [], '"first"'),
    (answers_twice, PATIENT, [], '"first"'),
    (answers_with_another_fence, PATIENT, [], '"first"'),
]


@pytest.mark.parametrize(("fault", "bounds", "failures", "output"), FAULTS, ids=[row[0].__name__ for row in FAULTS])
async def test_the_outcome_is_right_once_and_everything_comes_back(caller, fault, bounds, failures, output):
    await apply(caller, NARROW)
    async with contextlib.AsyncExitStack() as stack:
        scene = Scene(caller, stack)
        await scene.connect()
        workflow_id = await caller.start(step("work", id="only", **bounds))
        scene.given = await scene.executor.work()
        await fault(scene)
        ended = await caller.ended(workflow_id)
        assert ended.state == value_pb2.WORKFLOW_STATE_SUCCEEDED
        history = [(event.WhichOneof("payload"), event) for event in await caller.history(workflow_id)]
        failed = [event.attempt_failed.failure.reason for kind, event in history if kind == "attempt_failed"]
        assert [reason for reason in failed if reason != "BREAKER_OPEN"] == failures
        [succeeded] = [event.step_succeeded for kind, event in history if kind == "step_succeeded"]
        assert succeeded.output.json == output
        await _everything_came_back(caller, scene)


async def _everything_came_back(caller, scene):
    """What the fault had taken can be taken again, and nothing runs or waits."""
    following = await caller.start(step("work", **PATIENT))
    await scene.executor.succeed((await scene.executor.work()).attempt)
    await caller.ended(following)
    status = await caller.monitoring.GetStatus(monitoring_service_pb2.GetStatusRequest())
    assert (status.running_attempts, status.queued_steps, status.open_workflows) == (0, 0, 0)
