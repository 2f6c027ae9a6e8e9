"""What was revoked stays revoked over any end of the service, and what ran under it is canceled by the next one."""

import asyncio
import signal

import grpc.aio
import pytest

from podium.v1 import access_service_pb2 as pb
from podium.v1 import value_pb2
from service.cli.access.token_commands import claims_of
from tests.integration.rig.caller import step
from tests.integration.rig.history import kinds, payload
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import refusal_of
from tests.integration.rig.requests import invoke
from tests.integration.rig.service_process import ServiceProcess

LIST = "/podium.v1.WorkflowService/ListWorkflows"
CANCELED, RUNNING = value_pb2.WORKFLOW_STATE_CANCELED, value_pb2.WORKFLOW_STATE_RUNNING
SETTINGS = {
    "heartbeat_interval_ms": 500,
    "reconnect_grace_ms": 1000,
    "park_after_ms": 300,
    "reconcile_interval_ms": 300,
    "cancel_grace_ms": 500,
}


@pytest.fixture(params=["sqlite", "postgres"])
def service(request, tmp_path):
    database = None
    if request.param == "postgres":
        database = asyncio.run(request.getfixturevalue("postgres").create_database(migrated=False))
    process = ServiceProcess(tmp_path, database, **SETTINGS)
    process.start()
    yield process
    process.stop()
    assert process.complaints() == []


def revoke(caller, **credential):
    return caller.access.RevokeCredentials(pb.RevokeCredentialsRequest(reason="lost", **credential))


async def restart(service, **how):
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start, **how)


async def test_it_is_kept(service, admit):
    ana, bob = admit(), admit("bob", session_id="s1")
    await revoke(ana, session_id="s1")
    await revoke(ana, token_id=claims_of(admit("carla").token)["jti"])
    listed = await ana.access.ListRevocations(pb.ListRevocationsRequest())
    await restart(service)
    again = admit()
    assert await again.access.ListRevocations(pb.ListRevocationsRequest()) == listed
    assert (await refusal_of(invoke(admit("bob", session_id="s1"), LIST))).reason == "TOKEN_REVOKED"
    assert (await refusal_of(invoke(bob, LIST))).reason == "TOKEN_REVOKED"
    await revoke(again, token_id="another")
    assert len(await again.history("credentials")) == 3


async def test_a_kill_between_the_revocation_and_the_cancels_leaves_nothing_undone(service, admit):
    await restart(service, fault="TEST_DIES_REVOKING")
    ana, bob = admit(), admit("bob")
    async with raw_executor(ana, "job") as executor:
        running = await bob.start(step("job"), step("job", depends_on=["step_1"]))
        await executor.work()
        await ana.register("unserved")
        waiting, open_one = await bob.start(step("unserved")), await bob.start(open=True)
        mine = await ana.start(open=True)
        with pytest.raises(grpc.aio.AioRpcError) as died:
            await revoke(ana, subject="bob")
        assert died.value.code() == grpc.StatusCode.UNAVAILABLE
        executor.stream.cancel()
    assert service.ended() == -signal.SIGKILL
    await asyncio.to_thread(service.start)
    again = admit()
    # The revocation is there, and at the time of the kill no cancel was: it is in the events that came after.
    [revoked] = await again.history("credentials")
    for workflow_id in (running, waiting, open_one):
        assert (await again.ended(workflow_id)).state == CANCELED
        [event] = [each for each in await again.history(workflow_id) if each.HasField("workflow_cancel_requested")]
        assert (event.principal.subject, event.causation_position) == ("ana", revoked.position)
        assert event.workflow_cancel_requested.reason == "the subject it runs under was revoked: lost"
        assert event.position > revoked.position
    assert (await again.get(mine)).state == RUNNING
    assert (await refusal_of(invoke(bob, LIST))).reason == "TOKEN_REVOKED"


async def test_that_recovery_cancels_is_found_by_what_is_left_without_it(service, admit):
    """The negative control: a service whose turns ask for no revocation leaves what the killed one left."""
    await restart(service, fault="TEST_DIES_REVOKING")
    ana, bob = admit(), admit("bob")
    workflow_id = await bob.start(open=True)
    with pytest.raises(grpc.aio.AioRpcError):
        await revoke(ana, subject="bob")
    service.ended()
    await asyncio.to_thread(service.start, fault="TEST_FORGETS_REVOKED")
    again = admit()
    await again.register("unserved")
    await again.add(workflow_id, step("unserved"))
    assert (await again.get(workflow_id)).state == RUNNING
    await restart(service)
    assert (await admit().ended(workflow_id)).state == CANCELED


async def test_a_parked_workflow_is_canceled_when_it_is_found(service, admit):
    ana, bob = admit(), admit("bob")
    workflow_id = await bob.start(open=True)
    async with asyncio.timeout(20):
        while "parked=1" not in service.log.read_text():
            await invoke(ana, LIST)
    assert (await revoke(ana, subject="bob")).canceled_workflows == 0
    assert "workflow_cancel_requested" not in kinds(await ana.history(workflow_id))
    await ana.get(workflow_id)
    assert (await ana.ended(workflow_id)).state == CANCELED
    assert payload(await ana.history(workflow_id), "workflow_cancel_requested").reason.endswith(": lost")
