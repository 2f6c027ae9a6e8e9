"""What was revoked opens nothing any more, at once and for good, and what runs under it ends."""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest

import podium
from podium.v1 import access_service_pb2 as pb
from podium.v1 import (
    event_service_pb2,
    events_pb2,
    executor_service_pb2,
    tool_service_pb2,
    value_pb2,
    workflow_service_pb2,
)
from service.cli.access.token_commands import claims_of
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.forged_tokens import claims, secret_of, signed
from tests.integration.rig.history import kinds, payload, payloads, place
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import invalid, read_refusal, refusal_if_any, refusal_of
from tests.integration.rig.requests import invoke

pytestmark = pytest.mark.both_databases

LEEWAY_S = 10
"""PODIUM_TOKEN_LEEWAY_S, when nobody sets it."""
LIST = "/podium.v1.WorkflowService/ListWorkflows"
CANCELED, SUCCEEDED = value_pb2.WORKFLOW_STATE_CANCELED, value_pb2.WORKFLOW_STATE_SUCCEEDED


async def revoke(caller, **credential):
    return await caller.access.RevokeCredentials(pb.RevokeCredentialsRequest(**credential))


async def revocations(caller, **page):
    return await caller.access.ListRevocations(pb.ListRevocationsRequest(**page))


async def how_it_ends(stream):
    """Reads a stream to its end, and returns the reason for which it was ended."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return read_refusal(error).reason


def id_of(caller):
    return claims_of(caller.token)["jti"]


@pytest.fixture
def bob(admit):
    return admit("bob", roles=["admin"], session_id="s-bob")


CREDENTIALS = {
    "a token": lambda bob: {"token_id": id_of(bob)},
    "a session": lambda _: {"session_id": "s-bob"},
    "a subject": lambda _: {"subject": "bob"},
}
KINDS = {"a token": "token", "a session": "session", "a subject": "subject"}


@pytest.mark.parametrize("kind", CREDENTIALS)
async def test_it_is_refused_at_once_and_nobody_else_is(caller, bob, admit, kind):
    other = admit("carla", session_id="s-carla")
    await invoke(bob, LIST)
    await revoke(caller, **CREDENTIALS[kind](bob), reason="lost")
    refusal = await refusal_of(invoke(bob, LIST))
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    assert refusal.message == f"the {KINDS[kind]} was revoked"
    for each in (caller, other):
        await invoke(each, LIST)


async def test_another_tenant_with_the_same_names_goes_on(caller, bob, admit):
    namesake = admit("bob", tenant="elsewhere", session_id="s-bob")
    await revoke(caller, subject="bob")
    await revoke(caller, session_id="s-bob")
    await invoke(namesake, LIST)
    assert await refusal_if_any(invoke(bob, LIST)) is not None


async def test_it_is_recorded_with_who_did_it_and_why(caller, bob):
    answer = await revoke(caller, session_id="s-bob", reason="lost laptop")
    [event] = await caller.history("credentials")
    assert answer.event == place(event)
    assert event.principal.subject == "ana"
    assert event.credentials_revoked == events_pb2.CredentialsRevoked(session_id="s-bob", reason="lost laptop")
    [listed] = (await revocations(caller)).revocations
    assert (listed.session_id, listed.reason, listed.revoked_by.subject) == ("s-bob", "lost laptop", "ana")
    assert listed.revoked_at_us == event.recorded_at_us


async def test_a_token_is_revoked_once_however_often_it_is_asked_for(caller, bob):
    first, second = [await revoke(caller, token_id=id_of(bob)) for _ in range(2)]
    assert first.event == second.event
    assert kinds(await caller.history("credentials")) == ["credentials_revoked"]


async def test_those_who_revoke_at_once_all_succeed(caller):
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(revoke(caller, token_id=f"t{number}"))
    assert len(await caller.history("credentials")) == 20


async def test_the_list_has_pages_the_newest_first(caller):
    for number in range(5):
        await revoke(caller, token_id=f"t{number}")
    first = await revocations(caller, page_size=2)
    await revoke(caller, token_id="meanwhile")
    second = await revocations(caller, page_size=2, page_token=first.next_page_token)
    third = await revocations(caller, page_size=2, page_token=second.next_page_token)
    pages = [[each.token_id for each in page.revocations] for page in (first, second, third)]
    assert pages == [["t4", "t3"], ["t2", "t1"], ["t0"]]
    assert third.next_page_token == ""
    await invalid(revocations(caller, page_token="bm9uZQ=="))


@pytest.mark.parametrize("credential", [{}, {"token_id": ""}, {"subject": "x" * 300}], ids=str)
async def test_a_revocation_of_nothing_is_refused(caller, credential):
    async with caller.recording_nothing():
        await invalid(revoke(caller, **credential))


async def test_it_needs_a_permission_of_its_own(admit, bob):
    agent = admit("carla", roles=["agent", "auditor", "executor", "viewer"])
    assert (await refusal_of(revoke(agent, subject="bob"))).reason == "PERMISSION_DENIED"
    await invoke(bob, LIST)


async def test_what_runs_under_it_is_canceled_in_the_name_of_who_revoked_it(caller, bob, tools):
    theirs = await bob.start(step("gated", {"gate": "theirs"}), step("echo", depends_on=["step_1"]))
    mine = await caller.start(step("gated", {"gate": "mine"}))
    for gate in ("theirs", "mine"):
        await tools.entered[gate].wait()
    answer = await revoke(caller, subject="bob", reason="left")
    assert answer.canceled_workflows == 1
    summary = await caller.ended(theirs)
    assert summary.state == CANCELED
    [event] = [each for each in await caller.history(theirs) if each.HasField("workflow_cancel_requested")]
    assert event.workflow_cancel_requested.reason == "the subject it runs under was revoked: left"
    assert event.principal.subject == "ana"
    assert f"{event.shard}:{event.causation_position}" == answer.event
    tools.gates["mine"].set()
    assert (await caller.ended(mine)).state == SUCCEEDED


async def test_no_attempt_under_it_stands_behind_it_in_the_log(caller, bob, tools):
    async def starting():
        with contextlib.suppress(grpc.aio.AioRpcError):
            await bob.start(step("echo"), step("echo"), step("echo"))

    starts = [asyncio.ensure_future(starting()) for _ in range(200)]
    await asyncio.wait(starts, return_when=asyncio.FIRST_COMPLETED)
    await revoke(caller, subject="bob")
    await asyncio.wait(starts)
    happened = kinds(await caller.log())
    revoked_at = happened.index("credentials_revoked")
    assert "attempt_started" in happened[:revoked_at], "some came before it"
    assert "attempt_started" not in happened[revoked_at:]


async def test_an_open_workflow_is_canceled_and_one_that_only_has_ended_work_of_theirs_goes_on(caller, bob, tools):
    waiting = await bob.start(open=True)
    mine = await caller.start(step("echo"), open=True)
    await bob.add(mine, step("echo", id="theirs"))
    async for message in caller.watch(mine):
        if any(each.event.step_succeeded.step_id == "theirs" for each in message.items):
            break
    assert (await revoke(caller, session_id="s-bob")).canceled_workflows == 1
    assert (await caller.ended(waiting)).state == CANCELED
    await caller.finish(mine)
    assert (await caller.ended(mine)).state == SUCCEEDED


async def test_open_streams_end(caller, bob, admit, tools):
    workflow_id = await caller.start(open=True)
    watching = bob.watch(workflow_id)
    following = bob.events.Subscribe(event_service_pb2.SubscribeRequest(), timeout=None)
    for stream in (watching, following):
        await stream.read()
    others = admit("carla").watch(workflow_id)
    await others.read()
    assert (await revoke(caller, token_id=id_of(bob))).ended_streams == 2
    for stream in (watching, following):
        assert await how_it_ends(stream) == "TOKEN_REVOKED"
    await caller.finish(workflow_id)
    while await others.read() is not grpc.aio.EOF:
        pass
    assert await others.code() is grpc.StatusCode.OK


def upload_of(caller, waiting, going_on):
    """An upload that has sent one piece when it sets `waiting`, and sends the last when it is told to go on."""

    async def pieces():
        yield executor_service_pb2.UploadRequest(data=b'"before ')
        waiting.set()
        await going_on.wait()
        yield executor_service_pb2.UploadRequest(data=b'and after"')

    return caller.executors.Upload(pieces())


async def test_an_upload_ends(caller, bob, admit):
    begun = [asyncio.Event(), asyncio.Event()]
    going_on = asyncio.Event()
    theirs, others = upload_of(bob, begun[0], going_on), upload_of(admit("carla"), begun[1], going_on)
    for each in begun:
        await each.wait()
    while not (await revoke(caller, subject="bob")).ended_streams:
        """Its first piece is on its way."""
    assert (await refusal_of(theirs)).reason == "TOKEN_REVOKED"
    going_on.set()
    assert (await others).payload.size_bytes == len('"before and after"')


async def test_an_executors_session_ends_and_its_work_goes_to_another(caller, admit):
    serving = admit("robot", roles=["executor"])
    async with raw_executor(serving, "job", instance_id="one") as first:
        workflow_id = await caller.start(step("job"))
        await first.work()
        assert (await revoke(caller, subject="robot")).ended_streams == 1
        assert await how_it_ends(first.stream) == "TOKEN_REVOKED"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async with raw_executor(serving, "job", instance_id="one"):
                pass
        assert read_refusal(refused.value).reason == "TOKEN_REVOKED"
    async with raw_executor(admit("robot-2", roles=["executor"]), "job", instance_id="two") as second:
        await second.succeed((await second.work()).attempt, 1)
        assert (await caller.ended(workflow_id)).state == SUCCEEDED
    failed = payload(await caller.history(workflow_id), "attempt_failed")
    assert failed.failure.reason == "EXECUTOR_LOST"


async def test_a_step_that_waits_for_its_next_attempt_is_canceled_with_its_workflow(caller, bob, connect, tools):
    workflow_id = await bob.start(
        step("flaky", {"failures": 1, "retryable": True}, retry={"initial_backoff_ms": 60_000})
    )
    async for message in caller.watch(workflow_id):
        if any(each.event.HasField("attempt_failed") for each in message.items):
            break
    await revoke(caller, session_id="s-bob")
    assert (await caller.ended(workflow_id)).state == CANCELED
    assert len(payloads(await caller.history(workflow_id), "attempt_started")) == 1


async def test_a_subject_goes_on_with_a_token_that_is_issued_later_than_clocks_may_differ(caller, bob, service, tenant):
    """The issuer's clock is ahead; what it issued before the revocation is hit nevertheless."""
    await revoke(caller, subject="bob")
    [revoked] = (await revocations(caller)).revocations
    last_s = revoked.revoked_at_us // 1_000_000 + LEEWAY_S

    def issued_at(iat):
        return Caller(service.address, signed(secret_of(service), claims(sub="bob", tenant=tenant, iat=iat)))

    before, after = issued_at(last_s), issued_at(last_s + 1)
    assert (await refusal_of(invoke(before, LIST))).reason == "TOKEN_REVOKED"
    # The service's own clock is a moment from where a token of then is accepted at all.
    while (refusal := await refusal_if_any(invoke(after, LIST))) is not None:
        assert refusal.reason == "TOKEN_INVALID"
    for each in (before, bob):
        assert (await refusal_of(invoke(each, LIST))).reason == "TOKEN_REVOKED"
    for each in (before, after):
        await each.close()


async def test_the_sdk_is_told(caller, connect, bob, service):
    async with podium.connect(service.address, bob.token) as client:
        await revoke(caller, token_id=id_of(bob))
        with pytest.raises(podium.Unauthenticated) as refused:
            await client.tools()
        assert refused.value.reason == "TOKEN_REVOKED"


async def until_started_by(caller, subject, count):
    """Waits until so many workflows of a subject are in the log."""
    async with asyncio.timeout(15):
        while True:
            started = [each for each in await caller.log() if each.HasField("workflow_started")]
            if sum(each.principal.subject == subject for each in started) == count:
                return


async def test_a_call_that_waited_is_not_answered_to_whom_it_was_revoked(caller, bob, admit):
    await caller.register("slow")
    other = admit("carla", session_id="s-carla")
    anas = await caller.start(step("slow"))
    request = workflow_service_pb2.StartWorkflowRequest(steps=[step("slow")])
    await_request = workflow_service_pb2.AwaitWorkflowRequest(workflow_id=anas)
    call = tool_service_pb2.CallToolRequest(call=tool_service_pb2.ToolCall(tool="slow"))
    waiting = [
        bob.workflows.AwaitWorkflow(await_request),
        bob.workflows.RunWorkflow(workflow_service_pb2.RunWorkflowRequest(workflow=request)),
        bob.tools.CallTool(call),
    ]
    others = other.workflows.AwaitWorkflow(await_request)
    await until_started_by(caller, "bob", 2)
    await revoke(caller, subject="bob")
    await caller.cancel(anas)
    refusals = [await refusal_of(each) for each in waiting]
    assert [(each.code, each.reason) for each in refusals] == [("UNAUTHENTICATED", "TOKEN_REVOKED")] * 3
    assert (await others).workflow.state == CANCELED


async def test_who_revokes_what_they_call_with_is_told_that_it_is_done(bob):
    assert (await revoke(bob, token_id=id_of(bob))).event
    assert (await refusal_of(invoke(bob, LIST))).reason == "TOKEN_REVOKED"
