"""The engine on virtual time: what waits, waits for exactly as long as it should, and takes no time to test."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from podium.v1 import definition_pb2
from service.engine.keys import WorkflowKey
from service.engine.recovery import FAR_FUTURE_US, PARKS_AT_ONCE
from tests.simulation.service_life import SETTINGS, ServiceGone
from tests.simulation.stage import play, step
from tests.simulation.virtual_time import EPOCH_US, elapse

A_MOMENT_S = 0.2
"""What frames and commits take together, at most."""
PARKED_WITHIN_S = 15.0
HOUR_MS = 3_600_000
HOURLY = definition_pb2.RetryPolicy(max_attempts=2, initial_backoff_ms=HOUR_MS, max_backoff_ms=HOUR_MS, jitter=0)
QUICKLY = definition_pb2.RetryPolicy(max_attempts=3, initial_backoff_ms=100, jitter=0)


def failures(stage, workflow_id):
    return [failed.failure.reason for failed in stage.log.of_kind(workflow_id, "attempt_failed")]


@contextlib.contextmanager
def lasting(stage, seconds):
    """What is done in the block takes so long."""
    began_s = stage.now_s
    yield
    assert stage.now_s - began_s == pytest.approx(seconds, abs=A_MOMENT_S)


def test_a_retry_waits_for_its_backoff_in_virtual_hours():
    async def scene(stage):
        executor = await stage.executor()
        workflow_id = await stage.start(step(retry=HOURLY))
        executor.fail(await executor.hear("assign"))
        assert await executor.outcome()
        with lasting(stage, 3600):
            again = await executor.hear("assign")
        assert again.attempt.attempt == 2
        executor.succeed(again)
        await stage.until_ended(workflow_id)

    play(scene)


def test_an_attempt_that_takes_too_long_is_abandoned_stopped_and_repeated():
    async def scene(stage):
        executor = await stage.executor()
        bounds = definition_pb2.Timeouts(start_to_close_ms=3_000)
        workflow_id = await stage.start(step(retry=QUICKLY, timeouts=bounds))
        slow = await executor.hear("assign")
        with lasting(stage, 3):
            stop = await executor.hear("cancel")
        assert stop.attempt == slow.attempt
        assert failures(stage, workflow_id) == ["TIMEOUT"]
        assert [given.attempt for given in stage.log.of_kind(workflow_id, "attempt_abandoned")] == [1]

        again = await executor.hear("assign")
        assert again.attempt.fence > slow.attempt.fence
        executor.succeed(slow, '"late"')
        assert not await executor.outcome()
        executor.succeed(again, '"in time"')
        assert await executor.outcome()
        await stage.until_ended(workflow_id)
        (done,) = stage.log.of_kind(workflow_id, "step_succeeded")
        assert (done.attempt, done.output.json) == (2, '"in time"')

    play(scene)


def test_a_step_that_nobody_takes_fails_when_its_time_to_start_is_over():
    async def scene(stage):
        bounds = definition_pb2.Timeouts(schedule_to_start_ms=5_000)
        with lasting(stage, 5):
            workflow_id = await stage.start(step(timeouts=bounds))
            await stage.until_ended(workflow_id)
        (failed,) = stage.log.of_kind(workflow_id, "step_failed")
        assert failed.failure.reason == "SCHEDULE_TO_START_TIMEOUT"
        # The place that comes too late is not taken for it.
        executor = await stage.executor()
        await elapse(1)
        assert executor.hears_nothing()

    play(scene)


def test_a_silent_tool_is_stopped_and_repeated_and_one_that_beats_is_not():
    async def scene(stage):
        executor = await stage.executor()
        workflow_id = await stage.start(step(uses="watched", retry=QUICKLY))
        watched = await executor.hear("assign")
        for _ in range(3):
            await elapse(1.5)
            executor.beat(watched)
        assert failures(stage, workflow_id) == []
        with lasting(stage, 2):
            stop = await executor.hear("cancel")
        assert stop.attempt == watched.attempt
        assert failures(stage, workflow_id) == ["HEARTBEAT_TIMEOUT"]
        executor.succeed(await executor.hear("assign"))
        await stage.until_ended(workflow_id)

    play(scene)


def test_an_idle_run_is_parked_and_loaded_when_steps_are_added():
    async def scene(stage):
        workflow_id = await stage.start(is_open=True)
        await stage.until(lambda: not stage.in_memory(workflow_id), PARKED_WITHIN_S)
        assert stage.parked_until_us(workflow_id) == FAR_FUTURE_US

        executor = await stage.executor()
        await stage.add(workflow_id, step("more"))
        assert (await executor.hear("assign")).attempt.step_id == "more"
        assert stage.in_memory(workflow_id)
        assert stage.parked_until_us(workflow_id) is None

    play(scene)


def test_a_retry_that_is_parked_wakes_at_its_time():
    async def scene(stage):
        executor = await stage.executor()
        workflow_id = await stage.start(step(retry=HOURLY))
        executor.fail(await executor.hear("assign"))
        assert await executor.outcome()
        failed_s = stage.now_s
        (failed,) = stage.log.of_kind(workflow_id, "attempt_failed")
        await stage.until(lambda: not stage.in_memory(workflow_id), PARKED_WITHIN_S)
        assert stage.parked_until_us(workflow_id) == failed.retry_at_us
        executor.succeed(await executor.hear("assign"))
        assert stage.now_s - failed_s == pytest.approx(3600, abs=A_MOMENT_S)
        await stage.until_ended(workflow_id)

    play(scene)


def test_someone_who_begins_to_wait_while_a_run_is_being_parked_hears_of_its_end():
    async def scene(stage):
        executor = await stage.executor()
        workflow_id = await stage.start(step(retry=HOURLY))
        executor.fail(await executor.hear("assign"))
        assert await executor.outcome()
        await stage.until(lambda: stage.resident(workflow_id).durable)
        await stage.until(lambda: not stage.resident(workflow_id).durable, PARKED_WITHIN_S)
        ended = asyncio.ensure_future(stage.life.engine.when_ended(WorkflowKey("acme", workflow_id), lambda _: None))
        executor.succeed(await executor.hear("assign"))
        async with asyncio.timeout(A_MOMENT_S):
            await ended

    play(scene)


def test_someone_who_gave_up_waiting_does_not_keep_a_run_in_memory():
    async def scene(stage):
        workflow_id = await stage.start(is_open=True)
        ended = asyncio.ensure_future(stage.life.engine.when_ended(WorkflowKey("acme", workflow_id), lambda _: None))
        await elapse(PARKED_WITHIN_S)
        assert stage.in_memory(workflow_id)
        ended.cancel()
        await stage.until(lambda: not stage.in_memory(workflow_id), PARKED_WITHIN_S)

    play(scene)


@pytest.mark.parametrize(("resident_max", "parked_early"), [(10, True), (1_000, False)])
def test_more_runs_than_may_be_in_memory_are_parked_before_their_time(resident_max, parked_early):
    many = 2 * PARKS_AT_ONCE
    settings = replace(SETTINGS, limits=replace(SETTINGS.limits, resident_workflows=resident_max))

    def in_memory(stage):
        return len(stage.life.engine.residency)

    async def scene(stage):
        idle = [await stage.start(is_open=True) for _ in range(many)]
        queued = await stage.start(step())
        await stage.crash_and_begin()
        # After a start: while they are folded, and long before they have been idle for as long as others may be.
        await stage.until(lambda: stage.in_memory(queued), 2)
        assert (in_memory(stage) <= 10 + PARKS_AT_ONCE) is parked_early
        assert (stage.parked_until_us(idle[0]) == FAR_FUTURE_US) is parked_early

        executor = await stage.executor()
        assert (await executor.hear("assign")).attempt.workflow_id == queued
        await stage.add(idle[0], step("more"))
        assert (await executor.hear("assign")).attempt.workflow_id == idle[0]

    play(scene, settings)


def test_recovery_folds_what_is_not_parked_and_only_arms_what_is():
    async def scene(stage):
        executor = await stage.executor()
        retrying = await stage.start(step(retry=HOURLY))
        executor.fail(await executor.hear("assign"))
        assert await executor.outcome()
        (failed,) = stage.log.of_kind(retrying, "attempt_failed")
        idle = await stage.start(is_open=True)
        await stage.until(lambda: not stage.in_memory(retrying) and not stage.in_memory(idle), PARKED_WITHIN_S)
        waiting = await stage.start(step())
        await executor.hear("assign")

        await stage.crash_and_begin()
        await stage.until(lambda: stage.in_memory(waiting), 1)
        await elapse(1)
        assert not stage.in_memory(retrying)
        assert not stage.in_memory(idle)

        executor = await stage.executor("another")
        lost = await executor.hear("assign")
        assert (lost.attempt.workflow_id, failures(stage, waiting)) == (waiting, ["EXECUTOR_LOST"])
        executor.succeed(lost)
        assert await executor.outcome()
        again = await executor.hear("assign")
        assert again.attempt.workflow_id == retrying
        due_s = (failed.retry_at_us - EPOCH_US) / 1_000_000
        assert stage.now_s == pytest.approx(due_s, abs=A_MOMENT_S)

    play(scene)


def test_a_failed_append_is_folded_again_and_what_runs_goes_on():
    async def scene(stage):
        first, second = await stage.executor("one", max_attempts=1), await stage.executor("two", max_attempts=1)
        workflow_id = await stage.start(step("a"), step("b"), step("c", needs=["a", "b"]))
        a, b = await first.hear("assign"), await second.hear("assign")
        with stage.refusing_appends():
            first.succeed(a, '"a"')
            await first.hear_the_end()
        assert stage.log.of_kind(workflow_id, "step_succeeded") == []

        # The one whose outcome was not recorded comes back with it; the other has noticed nothing.
        first = await stage.executor("one", holding=[a])
        assert stage.kept(first) == [True]
        first.succeed(a, '"a"')
        second.succeed(b, '"b"')
        assert await first.outcome()
        assert await second.outcome()
        c = await next_of(first, second)
        c[0].succeed(c[1])
        await stage.until_ended(workflow_id)
        assert failures(stage, workflow_id) == []
        assert stage.life.engine.dispatcher.sessions("acme", "work")[0].taken == 0

    play(scene)


async def next_of(*executors):
    """The executor that is given the next attempt, and the attempt."""
    heard = {asyncio.ensure_future(executor.hear("assign")): executor for executor in executors}
    done, rest = await asyncio.wait(heard, return_when=asyncio.FIRST_COMPLETED)
    for each in rest:
        each.cancel()
    (given,) = done
    return heard[given], await given


def test_a_start_that_cannot_be_recorded_is_refused_and_leaves_nothing_behind():
    async def scene(stage):
        executor = await stage.executor()
        with stage.refusing_appends(), pytest.raises(ServiceGone):
            await stage.start(step())
        await elapse(10)
        assert stage.log.workflows() == []
        assert len(stage.life.engine.residency) == 0
        assert stage.life.places()[0].taken == 0
        await stage.start(step())
        await executor.hear("assign")

    play(scene)


def test_a_loss_that_could_not_be_recorded_is_noticed_again():
    async def scene(stage):
        executor = await stage.executor()
        workflow_id = await stage.start(
            step(retry=QUICKLY, timeouts=definition_pb2.Timeouts(start_to_close_ms=HOUR_MS))
        )
        await executor.hear("assign")
        executor.vanish()
        grace_s = SETTINGS.timings.reconnect_grace_ms / 1000
        with stage.refusing_appends():
            await elapse(grace_s + A_MOMENT_S)
        assert failures(stage, workflow_id) == []
        await stage.until(lambda: failures(stage, workflow_id) == ["EXECUTOR_LOST"], 2 * grace_s)

    play(scene)


def test_an_executor_that_is_back_before_its_old_connection_was_missed_keeps_what_it_holds():
    async def scene(stage):
        executor = await stage.executor("one")
        workflow_id = await stage.start(step())
        held = await executor.hear("assign")
        executor.vanish(noticed=False)
        again = await stage.executor("one", holding=[held])
        assert stage.kept(again) == [True]
        again.succeed(held)
        assert await again.outcome()
        await stage.until_ended(workflow_id)
        assert [place.taken for place in stage.life.places()] == [0]

    play(scene)


def test_ten_sequential_steps_cost_at_most_twelve_appends():
    async def scene(stage):
        executor = await stage.executor()
        steps = [step(f"s{n}", needs=[f"s{n - 1}"] if n else []) for n in range(10)]
        before = stage.life.store.submitted
        workflow_id = await stage.start(*steps)
        for _ in steps:
            executor.succeed(await executor.hear("assign"))
            assert await executor.outcome()
        await stage.until_ended(workflow_id)
        assert stage.life.store.submitted - before <= 12

    play(scene)
