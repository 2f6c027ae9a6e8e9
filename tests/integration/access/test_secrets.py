"""A tool is given its secrets with the assignment, when its executor may have them, and they come back from nowhere."""

import json

import pytest

import podium
from podium.v1 import executor_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import refusal_of
from tests.integration.rig.vault import files_with

VALUE = 'correct "horse" battery'
FETCH = tool("fetch", secrets=["api-key"])


@pytest.fixture
def keyed_service(own_service, secrets):
    secrets("api-key", VALUE + "\n")
    return own_service(secrets_directory=secrets.directory, reconnect_grace_ms=5_000).start()


@pytest.fixture
def ana(admit, keyed_service):
    return admit(to=keyed_service)


async def test_a_tool_of_the_sdk_reads_its_secret_and_what_it_tells_of_it_is_taken_out(keyed_service, ana, connect):
    app = podium.Executor("fetcher")

    @app.tool(secrets=["api-key"])
    async def fetch(ctx: podium.Context) -> dict:
        return {"length": len(ctx.secret("api-key")), "told": ctx.secret("api-key")}

    await connect(app, to=keyed_service)
    answer = await ana.call("fetch")
    assert json.loads(answer.outcome.output_json) == {"length": len(VALUE), "told": "[redacted:api-key]"}
    [started] = [e.attempt_started for e in await ana.history(answer.workflow_id) if e.HasField("attempt_started")]
    assert list(started.secrets) == ["api-key"]
    assert (await ana.replay(answer.workflow_id)).matches


async def test_an_executor_that_tells_is_not_heard(ana):
    async with raw_executor(ana, FETCH) as executor:
        workflow_id = await ana.start(step("fetch"))
        work = await executor.work()
        assert [(secret.name, secret.value) for secret in work.secrets] == [("api-key", VALUE.encode())]
        assert not work.arguments_json.count("horse")
        await executor.chunk(work.attempt, 1, VALUE[:8].encode())
        await executor.chunk(work.attempt, 2, VALUE[8:].encode() + b" told")
        await executor.succeed(work.attempt, {VALUE: [f"x{VALUE}"]}, chunk_count=2)
        await ana.ended(workflow_id)
    told = (await ana.steps(workflow_id))["step_1"]
    assert json.loads(told.output_json) == {"[redacted:api-key]": ["x[redacted:api-key]"]}
    [event] = [e.step_succeeded for e in await ana.history(workflow_id) if e.HasField("step_succeeded")]
    assert list(event.sanitized) == ["redacted:api-key"]


async def test_an_attempt_that_was_given_a_secret_before_a_restart_starts_anew_as_the_file_may_have_changed(
    keyed_service, admit, ana, secrets
):
    async with raw_executor(ana, FETCH, "plain") as executor:
        workflow_id = await ana.start(step("fetch"), step("plain"))
        works = [await executor.work() for _ in range(2)]
        attempts = {work.tool: work.attempt for work in works}
        keyed_service.kill()
    secrets("api-key", "another one")
    keyed_service.start()
    ana = admit(to=keyed_service)
    holding = [executor_service_pb2.HeldAttempt(attempt=attempt) for attempt in attempts.values()]
    async with raw_executor(ana, FETCH, "plain", holding=holding) as executor:
        verdicts = {tool: executor.held[workflow_id, attempts[tool].step_id].action for tool in attempts}
        assert verdicts == {
            "fetch": executor_service_pb2.HeldVerdict.ACTION_ABORT,
            "plain": executor_service_pb2.HeldVerdict.ACTION_KEEP,
        }
        await executor.succeed(attempts["fetch"], f"with {VALUE}")
        await executor.succeed(attempts["plain"], "done")
        again = await executor.work()
        assert [secret.value for secret in again.secrets] == [b"another one"]
        await executor.succeed(again.attempt, "with another one")
        await ana.ended(workflow_id)
    told = {each.output_json for each in (await ana.steps(workflow_id)).values()}
    assert told == {'"with [redacted:api-key]"', '"done"'}
    assert VALUE not in str(await ana.history(workflow_id))


async def test_an_attempt_with_a_secret_is_kept_when_only_the_connection_breaks(ana):
    async with raw_executor(ana, FETCH) as executor:
        workflow_id = await ana.start(step("fetch"))
        attempt = (await executor.work()).attempt
    held = executor_service_pb2.HeldAttempt(attempt=attempt)
    async with raw_executor(ana, FETCH, holding=[held]) as executor:
        assert executor.held[workflow_id, attempt.step_id].action == executor_service_pb2.HeldVerdict.ACTION_KEEP
        await executor.succeed(attempt, f"with {VALUE}")
        await ana.ended(workflow_id)
    assert (await ana.steps(workflow_id))["step_1"].output_json == '"with [redacted:api-key]"'


def upload(caller, output, attempt=None):
    async def pieces():
        yield executor_service_pb2.UploadRequest(data=json.dumps(output).encode(), attempt=attempt)

    return caller.executors.Upload(pieces())


async def test_an_upload_says_whose_it_is_and_after_a_restart_none_is_taken_for_an_attempt_with_secrets(
    keyed_service, admit, ana
):
    output = f"{'z' * 100_000} with {VALUE}"
    async with raw_executor(ana, FETCH) as executor:
        assert (await refusal_of(upload(ana, output))).reason == "ATTEMPT_MISSING"
        await ana.start(step("fetch"))
        attempt = (await executor.work()).attempt
        keyed_service.kill()
    keyed_service.start()
    ana = admit(to=keyed_service)
    refusal = await refusal_of(upload(ana, output, attempt))
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "ATTEMPT_NOT_CLAIMED")
    held = executor_service_pb2.HeldAttempt(attempt=attempt)
    async with raw_executor(ana, FETCH, holding=[held]):
        # Nobody knows any more what it was given: the attempt is not kept, and starts anew when it is lost.
        assert (await refusal_of(upload(ana, output, attempt))).reason == "ATTEMPT_NOT_CLAIMED"
    keyed_service.stop()
    assert files_with(keyed_service.directory, b"horse") == []


async def test_an_upload_without_secrets_needs_no_session_after_a_restart(keyed_service, admit, ana):
    async with raw_executor(ana, "plain") as executor:
        await ana.start(step("plain"))
        attempt = (await executor.work()).attempt
        keyed_service.kill()
    keyed_service.start()
    ana = admit(to=keyed_service)
    assert (await upload(ana, "z" * 100_000, attempt)).payload.digest


async def test_a_missing_secret_fails_the_step_before_any_attempt(keyed_service, ana, secrets):
    async with raw_executor(ana, tool("fetch", secrets=["other"])) as executor:
        workflow_id = await ana.start(step("fetch"))
        await ana.ended(workflow_id)
        failed = (await ana.steps(workflow_id))["step_1"]
        assert (failed.failure.reason, failed.attempts) == ("SECRET_MISSING", 0)
        assert "other" in failed.failure.message
        # Once it is there, the next step gets it, on the same session and the same place.
        secrets("other", "here it is")
        workflow_id = await ana.start(step("fetch"))
        work = await executor.work()
        assert work.secrets[0].value == b"here it is"
        await executor.succeed(work.attempt, "done")
        await ana.ended(workflow_id)
    [complaint] = keyed_service.complaints()
    assert "the secret other of tenant" in complaint


async def test_a_file_that_others_may_read_is_as_good_as_missing(ana, secrets):
    secrets("api-key", VALUE, mode=0o644)
    async with raw_executor(ana, FETCH):
        workflow_id = await ana.start(step("fetch"))
        await ana.ended(workflow_id)
    assert (await ana.steps(workflow_id))["step_1"].failure.reason == "SECRET_MISSING"


async def test_an_executor_that_may_not_have_the_secret_is_turned_away_with_the_reason(keyed_service, admit, ana):
    worker = admit("worker", to=keyed_service, roles=["executor"])
    stream = worker.executors.Session(timeout=None)
    hello = executor_service_pb2.Hello(executor="e", tools=[tool("plain"), FETCH], max_attempts=1)
    item = executor_service_pb2.ExecutorItem(hello=hello)
    async with ana.recording_nothing():
        await stream.write(executor_service_pb2.SessionRequest(items=[item]))
        refusal = await refusal_of(stream)
        assert refusal.code == "PERMISSION_DENIED"
        assert "tool fetch uses the secret api-key needs secrets.use" in refusal.message
        registered = await refusal_of(worker.register("fetch", secrets=["api-key"]))
        assert registered.code == "PERMISSION_DENIED"
    # One whose token has it is welcome.
    narrowed = admit("worker", to=keyed_service, scopes=["tools.*", "secrets.use:api-*"])
    async with raw_executor(narrowed, FETCH) as executor:
        assert executor.welcome.tool_versions == [1]


async def test_another_tenants_secret_is_not_given(keyed_service, admit):
    bob = admit("bob", to=keyed_service, tenant="elsewhere")
    async with raw_executor(bob, FETCH):
        workflow_id = await bob.start(step("fetch"))
        await bob.ended(workflow_id)
    assert (await bob.steps(workflow_id))["step_1"].failure.reason == "SECRET_MISSING"


async def test_an_executor_is_given_the_secrets_of_the_version_that_it_serves(ana):
    async with raw_executor(ana, FETCH) as executor:
        opened = await ana.start(open=True)
        await ana.add(opened, step("fetch", id="pinned"))
        work = await executor.work()
        await executor.fail(work.attempt, "EXECUTOR_LOST", retryable=True)
    # The step is pinned to the version with a secret, and the code that serves the tool now uses none.
    async with raw_executor(ana, tool("fetch"), instance_id="raw-2") as executor:
        work = await executor.work()
        assert (work.tool_version, list(work.secrets)) == (1, [])
        await executor.succeed(work.attempt, "done")
        await ana.finish(opened)
        await ana.ended(opened)
