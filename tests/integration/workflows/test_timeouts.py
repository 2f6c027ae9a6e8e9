"""Every wait has an end: for an executor, for an attempt, for a tool's sign of life, for a workflow."""

import asyncio

import podium
from podium.v1 import definition_pb2, executor_service_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import of_step, payload
from tests.integration.rig.raw_executor import raw_executor, tool

FAILED, SUCCEEDED = value_pb2.WORKFLOW_STATE_FAILED, value_pb2.WORKFLOW_STATE_SUCCEEDED
ONCE = definition_pb2.RetryPolicy(max_attempts=1)


def timeouts(**bounds):
    return definition_pb2.Timeouts(**bounds)


async def test_a_step_that_no_executor_takes_in_time_fails(caller):
    await caller.register("nobody")
    workflow_id = await caller.start(step("nobody", timeouts=timeouts(schedule_to_start_ms=50)))
    assert (await caller.ended(workflow_id)).state == FAILED
    events = await caller.history(workflow_id)
    assert of_step(events, "step_1") == ["step_queued", "step_failed"]
    queued = payload(events, "step_queued")
    assert queued.waits_for == "an executor that serves nobody"
    assert payload(events, "step_failed").failure.reason == "SCHEDULE_TO_START_TIMEOUT"


async def test_an_attempt_that_does_not_answer_in_time_is_abandoned_and_its_late_result_refused(caller):
    async with raw_executor(caller, "silent") as executor:
        workflow_id = await caller.start(step("silent", timeouts=timeouts(start_to_close_ms=50), retry=ONCE))
        given = await executor.work()
        assert given.timeout_ms == 50
        assert (await executor.expect("cancel")).attempt == given.attempt
        await executor.succeed(given.attempt, "too late")
        refused = await executor.expect("outcome_acknowledged")
        assert not refused.accepted
    assert (await caller.ended(workflow_id)).state == FAILED
    events = await caller.history(workflow_id)
    assert of_step(events, "step_1")[-3:] == ["attempt_abandoned", "attempt_failed", "step_failed"]
    assert payload(events, "step_failed").failure.reason == "TIMEOUT"


async def test_an_attempt_that_timed_out_is_repeated_with_a_higher_fence(caller):
    async with raw_executor(caller, tool("slow", read_only=True)) as executor:
        policy = definition_pb2.RetryPolicy(initial_backoff_ms=1)
        workflow_id = await caller.start(step("slow", timeouts=timeouts(start_to_close_ms=50), retry=policy))
        first = await executor.work()
        await executor.expect("cancel")
        second = await executor.work()
        assert second.attempt.fence > first.attempt.fence
        await executor.succeed(first.attempt, 1)
        assert not (await executor.expect("outcome_acknowledged")).accepted
        await executor.succeed(second.attempt, 2)
        assert (await executor.expect("outcome_acknowledged")).accepted
    await caller.ended(workflow_id)
    assert (await caller.steps(workflow_id))["step_1"].output_json == "2"


async def test_the_timeout_of_the_tool_holds_where_the_step_has_none(caller):
    async with raw_executor(caller, tool("bounded", timeout_ms=1234)) as executor:
        await caller.start(step("bounded"), step("bounded", timeouts=timeouts(start_to_close_ms=77_000)))
        assert sorted([(await executor.work()).timeout_ms, (await executor.work()).timeout_ms]) == [1234, 77_000]


async def test_the_sdk_stops_a_tool_whose_time_is_up(caller, connect):
    app = podium.Executor("slow")
    stopped = asyncio.Event()

    @app.tool(timeout="50ms")
    async def sleeper() -> None:
        """Wait for ever."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise

    await connect(app)
    answer = await caller.call("sleeper")
    assert answer.outcome.failure.reason == "TIMEOUT"
    async with asyncio.timeout(10):
        await stopped.wait()


async def test_a_tool_that_gives_no_sign_of_life_is_taken_for_dead(caller):
    async with raw_executor(caller, tool("lively", heartbeat_timeout_ms=200)) as executor:
        workflow_id = await caller.start(step("lively", retry=ONCE))
        given = await executor.work()
        assert given.heartbeat_timeout_ms == 200
        assert (await executor.expect("cancel")).attempt == given.attempt
    await caller.ended(workflow_id)
    assert (await caller.steps(workflow_id))["step_1"].failure.reason == "HEARTBEAT_TIMEOUT"


async def test_a_tool_that_gives_signs_of_life_may_take_its_time(caller, connect):
    app = podium.Executor("lively")

    @app.tool(heartbeat="400ms")
    async def lively(ctx: podium.Context) -> int:
        """Beat for longer than the bound on silence."""
        beats = 0
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.0
        while loop.time() < end:
            ctx.heartbeat()
            beats += 1
            try:
                async with asyncio.timeout(0.05):
                    await asyncio.Event().wait()
            except TimeoutError:
                continue
        return beats

    await connect(app)
    answer = await caller.call("lively")
    assert answer.outcome.state == value_pb2.STEP_STATE_SUCCEEDED
    assert answer.outcome.attempts == 1


async def test_a_workflow_whose_time_is_up_fails_and_its_attempts_are_told(caller):
    async with raw_executor(caller, "silent") as executor:
        workflow_id = await caller.start(step("silent"), step("silent", depends_on=["step_1"]), timeout_ms=100)
        given = await executor.work()
        assert (await executor.expect("cancel")).attempt == given.attempt
        summary = await caller.ended(workflow_id)
    assert (summary.state, summary.failure.reason) == (FAILED, "WORKFLOW_TIMEOUT")
    events = await caller.history(workflow_id)
    assert of_step(events, "step_1")[-3:] == ["attempt_abandoned", "attempt_failed", "step_failed"]
    assert payload(events, "attempt_failed").failure.reason == "WORKFLOW_TIMEOUT"
    assert of_step(events, "step_2") == []
    assert (await caller.replay(workflow_id)).matches


async def test_a_call_whose_time_is_up_is_an_outcome_and_no_error(caller):
    await caller.register("nobody")
    outcome = (await caller.call("nobody", timeout_ms=50)).outcome
    assert outcome.state == value_pb2.STEP_STATE_CANCELED
    assert outcome.failure.reason == "WORKFLOW_TIMEOUT"


async def test_progress_is_seen_while_it_is_made_and_recorded_nowhere(caller):
    async with raw_executor(caller, "slow") as executor:
        workflow_id = await caller.start(step("slow"))
        attempt = (await executor.work()).attempt
        watch = caller.watch(workflow_id)
        seen = await watch.read()
        assert seen.items[-1].event.HasField("attempt_started")
        told = executor_service_pb2.AttemptProgressed(attempt=attempt, fraction=0.5, message="half of it")
        await executor.send(("progress", told))
        [item] = (await watch.read()).items
        assert (item.progress.step_id, item.progress.fraction, item.progress.message) == ("step_1", 0.5, "half of it")
        watch.cancel()
        await executor.succeed(attempt)
        await executor.expect("outcome_acknowledged")
