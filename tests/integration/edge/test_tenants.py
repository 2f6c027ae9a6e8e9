"""A tenant sees nothing of another: no workflow, tool or event, no line of the audit trail, no value, no attempt."""

import hashlib
import json

import pytest

import podium
from podium.v1 import access_service_pb2, executor_service_pb2, tool_service_pb2, value_pb2
from tests.integration.rig.api_rows import plant, rows
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import invalid, refusal_of
from tests.integration.rig.requests import METHODS, invoke

pytestmark = pytest.mark.both_databases

SECRET = "the secret of tenant one"
LARGE = json.dumps(SECRET * 4000)
RESPONSES = 3


@pytest.fixture
async def one(caller):
    """A tenant with a secret in every place where one can be."""
    caller.planted = await plant(caller, SECRET)
    caller.workflow_id = caller.planted.workflow_id
    return caller


@pytest.fixture
def two(admit):
    """Another tenant's administrator."""
    return admit("eve", tenant="another-tenant")


def requests_about(planted):
    """For each method, the request that would show the workflow or the tool to someone who may see it."""
    table = rows(planted)
    return {path.rpartition("/")[2]: row.request for path, row in table.items()}


NOTHING_TO_SEE = {"RegisterTool", "Session", "Upload", "ListProjections", "RebuildProjection"}
"""They show nothing that is recorded."""


CHANGES_OR_WAITS = {
    *("AddSteps", "FinishWorkflow", "CancelWorkflow"),
    *("CallTool", "CallToolBatch", "RunWorkflow", "AwaitWorkflow", "UnblockAddress"),
    *("ApplyPolicy", "RollBackPolicy", "ApprovePolicy", "RejectPolicy", "RevokeCredentials", "BlockAddress"),
}
"""To their owner they would do something, or wait for what no executor does."""


async def what_is_told(caller, path, request):
    """All that the method tells: its first messages, or its refusal, as bytes; and the refusal's status."""
    call = invoke(caller, path, request)
    method = METHODS[path]
    try:
        if not method.server_streaming:
            return (await call).SerializeToString(), "OK"
        message = await call.read()
        call.cancel()
        return (message.SerializeToString() if hasattr(message, "SerializeToString") else b""), "OK"
    except Exception as error:  # noqa: BLE001 - the status is looked at by the test
        return repr(error).encode(), error.code().name


async def test_no_method_tells_a_stranger_of_it(one, two):
    requests = requests_about(one.planted)
    async with one.recording_nothing():
        for path in METHODS:
            name = path.rpartition("/")[2]
            if name in NOTHING_TO_SEE:
                continue
            told, status = await what_is_told(two, path, requests[name])
            assert SECRET.encode() not in told, path
            assert one.workflow_id.encode() not in told or status == "NOT_FOUND", path


async def test_the_owner_sees_it_through_the_same_requests(one):
    """The test above would notice a leak: its requests do show the secret to whom it belongs."""
    requests = requests_about(one.planted)
    shown = set()
    for path in METHODS:
        name = path.rpartition("/")[2]
        if name in CHANGES_OR_WAITS | NOTHING_TO_SEE:
            continue
        told, _ = await what_is_told(one, path, requests[name])
        if SECRET.encode() in told:
            shown.add(name)
    assert shown >= {"GetWorkflow", "WatchWorkflow", "GetTool", "ListTools", "ReadStream", "ReadAll", "Subscribe"}
    assert shown >= {"ListBlockedAddresses", "ListRevocations"}
    assert shown >= {"GetPolicy", "ListPolicyRevisions", "ListPolicyProposals"}


async def test_a_block_of_one_tenant_is_not_anothers_to_take_back(one, two):
    asked = access_service_pb2.UnblockAddressRequest(network=one.planted.network)
    refusal = await refusal_of(two.access.UnblockAddress(asked))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "ADDRESS_NOT_BLOCKED")
    assert (await one.access.UnblockAddress(asked)).event


async def test_a_refusal_of_one_tenant_is_recorded_for_nobody_else(one, two, admit):
    viewer = admit("victor", roles=["viewer"])
    refusal = await refusal_of(viewer.register("more"))
    assert refusal.reason == "PERMISSION_DENIED"
    assert [each.principal.subject for each in await one.refusals() if each.principal.subject == "victor"] == ["victor"]
    assert [each for each in await two.refusals() if each.principal.subject == "victor"] == []


async def test_what_a_stranger_names_does_not_exist_for_it(one, two):
    requests = requests_about(one.planted)
    not_there = ["GetWorkflow", "ListSteps", "WatchWorkflow", "AwaitWorkflow", "AddSteps", "FinishWorkflow"]
    not_there += ["CancelWorkflow", "Replay"]
    for name in not_there:
        path = next(each for each in METHODS if each.endswith(f"/{name}"))
        assert (await refusal_of(invoke(two, path, requests[name]))).reason == "WORKFLOW_NOT_FOUND"
    assert (await refusal_of(two.tools.GetTool(requests["GetTool"]))).reason == "TOOL_NOT_FOUND"
    assert "not registered" in (await invalid(two.start(step("vault")))).message


async def test_tenants_have_their_own_tools_of_one_name(one, two):
    assert await two.register("vault", description="mine") == 1
    assert await one.register("vault", description="changed") == 2
    mine = (await two.tools.GetTool(tool_service_pb2.GetToolRequest(name="vault"))).tool
    assert (mine.definition.description, mine.version) == ("mine", 1)


async def test_the_same_request_id_of_two_tenants_means_two_workflows(one, two):
    await two.register("vault")
    first = await one.start(step("vault"), request_id="once")
    second = await two.start(step("vault"), request_id="once")
    assert first != second
    assert {event.tenant for event in await two.log()} == {"another-tenant"}


async def test_every_tenant_has_a_sequence_of_its_own_without_gaps(one, two):
    await two.register("vault")
    for each in (one, two, one):
        await each.start(step("vault"))
    for each in (one, two):
        sequence = [event.tenant_sequence for event in await each.log()]
        assert sequence == list(range(1, len(sequence) + 1))


async def test_an_executor_gets_no_work_of_another_tenant(admit, connect):
    one, two = admit(tenant="pair-one"), admit(tenant="pair-two")
    served = []
    for tenant in ("pair-one", "pair-two"):
        app = podium.Executor(tenant)

        @app.tool
        async def whose(ctx: podium.Context) -> str:
            """Tell whose tool it is."""
            served.append(ctx.tenant)
            return ctx.tenant

        await connect(app, tenant=tenant)
    outcomes = [(await caller.call("whose")).outcome.output_json for caller in (one, two, one)]
    assert outcomes == ['"pair-one"', '"pair-two"', '"pair-one"']
    assert served == ["pair-one", "pair-two", "pair-one"]


async def test_an_executor_of_another_tenant_cannot_take_over_an_attempt(one, two):
    async with raw_executor(one, "vault") as executor:
        attempt = (await executor.work()).attempt
        asked = executor_service_pb2.GetArgumentsRequest(attempt=attempt)
        refusal = await refusal_of(two.executors.GetArguments(asked))
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "ATTEMPT_NOT_RUNNING")
        held = executor_service_pb2.HeldAttempt(attempt=attempt)
        async with raw_executor(two, "vault", holding=[held]) as thief:
            verdict = thief.held[attempt.workflow_id, attempt.step_id]
            assert verdict.action == executor_service_pb2.HeldVerdict.ACTION_ABORT
            await thief.succeed(attempt, "stolen")
            assert not (await thief.expect("outcome_acknowledged")).accepted
        await executor.succeed(attempt, "rightful")
        assert (await executor.expect("outcome_acknowledged")).accepted
    assert (await one.steps(attempt.workflow_id))["secret_step"].output_json == '"rightful"'


async def test_a_value_of_another_tenant_cannot_be_named_by_its_digest(one, two):
    async def pieces():
        yield executor_service_pb2.UploadRequest(data=LARGE.encode())

    reference = (await one.executors.Upload(pieces())).payload
    assert reference.digest == hashlib.sha256(LARGE.encode()).digest()
    async with raw_executor(two, "peek") as executor:
        workflow_id = await two.start(step("peek"))
        attempt = (await executor.work()).attempt
        await executor.succeed(attempt, value_pb2.Value(payload=reference))
        await executor.expect("outcome_acknowledged")
    found = (await two.steps(workflow_id))["step_1"]
    assert found.failure.reason == "INVALID_OUTPUT"
    assert SECRET not in str(found)
