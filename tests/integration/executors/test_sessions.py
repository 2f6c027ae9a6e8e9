"""A session's rules: credits bound what runs, fences refuse the stale, the silent are dead, drains let work end."""

import asyncio

import pytest

import podium
from podium.v1 import definition_pb2, executor_service_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import concurrency, kinds, of_step, payloads
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import refusal_of
from tests.integration.rig.service_process import ServiceProcess
from tests.integration.rig.toolbox import toolbox

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """A service that soon takes an executor for dead."""
    settings = {"heartbeat_interval_ms": 100, "reconnect_grace_ms": 300}
    process = ServiceProcess(tmp_path_factory.mktemp("impatient"), **settings).start()
    yield process
    process.stop()


async def test_no_more_is_assigned_than_the_executor_has_places(caller):
    async with raw_executor(caller, "work", max_attempts=3) as executor:
        workflow_id = await caller.start(*[step("work") for _ in range(10)])
        held = [await executor.work() for _ in range(3)]
        for _ in range(7):
            given = held.pop(0)
            await executor.succeed(given.attempt)
            held.append(await executor.work())
        for given in held:
            await executor.succeed(given.attempt)
        assert (await caller.ended(workflow_id)).state == SUCCEEDED
    events = await caller.history(workflow_id)
    assert max(concurrency(events)) == 3
    assert payloads(events, "step_queued")[0].waits_for == "a free place"


async def test_the_places_of_the_sdk_are_its_own_bound_too(caller, connect):
    app = podium.Executor("narrow", max_parallel=2)
    running, most = 0, 0

    @app.tool
    async def work() -> None:
        """Count who runs at once."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await connect(app)
    workflow_id = await caller.start(*[step("work") for _ in range(30)])
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert most <= 2


async def test_work_goes_to_the_session_with_the_most_free_places(caller):
    async with (
        raw_executor(caller, "work", max_attempts=1) as small,
        raw_executor(caller, "work", max_attempts=3, instance_id="raw-2") as large,
    ):
        await caller.start(*[step("work") for _ in range(4)])
        given = [await small.work(), *[await large.work() for _ in range(3)]]
        assert len({each.attempt.step_id for each in given}) == 4
        for executor, each in zip([small, large, large, large], given, strict=True):
            await executor.succeed(each.attempt)
            await executor.expect("outcome_acknowledged")


async def test_steps_that_wait_are_served_first_come_first_served(caller):
    await caller.register("work")
    ids = [await caller.start(step("work")) for _ in range(5)]
    async with raw_executor(caller, "work", max_attempts=1) as executor:
        served = []
        for _ in ids:
            given = await executor.work()
            served.append(given.attempt.workflow_id)
            await executor.succeed(given.attempt)
    assert served == ids


STALE = {
    "a fence that was never given": {"fence": 99},
    "an attempt that never was": {"attempt": 7},
    "a step that does not exist": {"step_id": "gone"},
    "a workflow that does not exist": {"workflow_id": "wf_gone"},
}


@pytest.mark.parametrize("wrong", STALE.values(), ids=STALE)
async def test_what_is_said_is_refused_with(caller, wrong):
    async with raw_executor(caller, "work") as executor:
        workflow_id = await caller.start(step("work"))
        given = await executor.work()
        stale = executor_service_pb2.AttemptReference()
        stale.CopyFrom(given.attempt)
        for field, value in wrong.items():
            setattr(stale, field, value)
        async with caller.recording_nothing():
            await executor.succeed(stale, "stale")
            assert not (await executor.expect("outcome_acknowledged")).accepted
            await executor.fail(stale)
            assert not (await executor.expect("outcome_acknowledged")).accepted
            await executor.chunk(stale, 1, b"stale")
            assert (await executor.expect("cancel")).attempt == stale
        await executor.succeed(given.attempt, "good")
        assert (await executor.expect("outcome_acknowledged")).accepted
    assert (await caller.ended(workflow_id)).state == SUCCEEDED


async def test_one_session_cannot_speak_for_the_attempt_of_another(caller):
    async with raw_executor(caller, "work") as owner, raw_executor(caller, "other", instance_id="raw-2") as stranger:
        workflow_id = await caller.start(step("work"))
        given = await owner.work()
        async with caller.recording_nothing():
            await stranger.succeed(given.attempt, "stolen")
            assert not (await stranger.expect("outcome_acknowledged")).accepted
        await owner.succeed(given.attempt, "good")
        assert (await owner.expect("outcome_acknowledged")).accepted
    assert (await caller.steps(workflow_id))["step_1"].output_json == '"good"'


async def test_the_executor_that_holds_an_attempt_alone_fetches_its_arguments_and_uploads_for_it(caller, admit):
    other = admit("mallory", roles=["executor"])

    async def refused_of(attempt):
        async def pieces():
            yield executor_service_pb2.UploadRequest(attempt=attempt, data=b'"forged"')

        asked = executor_service_pb2.GetArgumentsRequest(attempt=attempt)
        calls = (other.executors.GetArguments(asked), other.executors.Upload(pieces()))
        return [(await refusal_of(call)).reason for call in calls]

    async with raw_executor(caller, "work") as executor:
        await caller.start(step("work", {"key": "x" * 100_000}))
        given = await executor.work()
        assert given.arguments_json == ""
        assert await refused_of(given.attempt) == ["ATTEMPT_NOT_RUNNING"] * 2
        asked = executor_service_pb2.GetArgumentsRequest(attempt=given.attempt)
        assert len((await caller.executors.GetArguments(asked)).arguments_json) > 100_000
    assert await refused_of(given.attempt) == ["ATTEMPT_NOT_RUNNING"] * 2, "nor while its executor is away"


async def test_a_result_that_is_sent_twice_is_recorded_once(caller):
    async with raw_executor(caller, "work") as executor:
        workflow_id = await caller.start(step("work"))
        given = await executor.work()
        await executor.succeed(given.attempt, 1)
        assert (await executor.expect("outcome_acknowledged")).accepted
        await executor.succeed(given.attempt, 2)
        assert not (await executor.expect("outcome_acknowledged")).accepted
        # Its place was given back once: with four places, four more are taken and no fifth.
        await caller.start(*[step("work") for _ in range(6)])
        held = [await executor.work() for _ in range(4)]
        await executor.succeed(held[0].attempt)
        await executor.work()
    events = await caller.history(workflow_id)
    assert kinds(events).count("step_succeeded") == 1


async def test_an_executor_that_falls_silent_is_dead_and_its_work_goes_to_another(impatient, admit):
    ana = admit(to=impatient)
    once_more = definition_pb2.RetryPolicy(initial_backoff_ms=1)
    async with raw_executor(ana, "work", beating=False, instance_id="silent") as silent:
        workflow_id = await ana.start(step("work", retry=once_more))
        first = await silent.work()
        assert silent.welcome.heartbeat_interval_ms == 100
        async with raw_executor(ana, "work", instance_id="lively") as lively:
            second = await lively.work()
            assert (second.attempt.attempt, second.idempotency_key) == (2, first.idempotency_key)
            assert second.attempt.fence > first.attempt.fence
            await lively.succeed(second.attempt, "from the other")
            assert (await lively.expect("outcome_acknowledged")).accepted
        assert await silent.next() is None, "its session was ended"
    assert (await ana.ended(workflow_id)).state == SUCCEEDED
    failed = payloads(await ana.history(workflow_id), "attempt_failed")
    assert [each.failure.reason for each in failed] == ["EXECUTOR_LOST"]


async def test_an_executor_that_leaves_gets_no_more_work_and_ends_what_it_has(caller):
    async with raw_executor(caller, "work") as leaving:
        workflow_id = await caller.start(step("work"), step("work", depends_on=["step_1"]))
        given = await leaving.work()
        await leaving.send(("leaving", executor_service_pb2.Leaving()))
        await leaving.succeed(given.attempt, "done")
        assert (await leaving.expect("outcome_acknowledged")).accepted
        assert kinds(await caller.history(workflow_id))[-1] == "step_queued"
        async with raw_executor(caller, "work", instance_id="raw-2") as staying:
            given = await staying.work()
            assert given.attempt.step_id == "step_2"
            await staying.succeed(given.attempt)
            await staying.expect("outcome_acknowledged")
    assert (await caller.ended(workflow_id)).state == SUCCEEDED


async def test_an_sdk_executor_that_stops_lets_its_work_end(caller, service, tenant):
    tools = toolbox()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(tools.serve(service.address, service.token(tenant=tenant)))
        await caller.register("echo_later")
        while "gated" not in [event.tool_registered.definition.name for event in await caller.log()]:
            pass
        workflow_id = await caller.start(step("gated", {"gate": "g"}))
        await tools.entered["g"].wait()
        stopping = group.create_task(tools.stop("20s"))
        tools.gates["g"].set()
        await stopping
        await serving
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert of_step(await caller.history(workflow_id), "step_1").count("attempt_started") == 1


async def test_an_executor_killed_in_the_middle_of_a_step_loses_it_to_the_next(impatient, admit):
    ana = admit(to=impatient)
    retry = definition_pb2.RetryPolicy(initial_backoff_ms=1)
    async with raw_executor(ana, tool("work", read_only=False), instance_id="first") as first:
        once = definition_pb2.RetryPolicy(max_attempts=1)
        workflow_id = await ana.start(step("work", retry=retry), step("work", retry=once))
        given = {each.attempt.step_id: each for each in (await first.work(), await first.work())}
    async with raw_executor(ana, "work", instance_id="second") as second:
        again = await second.work()
        assert again.attempt.step_id == "step_1"
        assert again.attempt.fence > given["step_1"].attempt.fence
        await second.succeed(given["step_1"].attempt, "late")
        assert not (await second.expect("outcome_acknowledged")).accepted
        await second.succeed(again.attempt, "anew")
        assert (await second.expect("outcome_acknowledged")).accepted
    await ana.ended(workflow_id)
    steps = await ana.steps(workflow_id)
    assert steps["step_1"].output_json == '"anew"'
    assert steps["step_2"].failure.reason == "EXECUTOR_LOST", "at most once means at most once"
