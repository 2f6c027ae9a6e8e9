"""A second service on a database: refused where the first has a lock, in its place at once where there is a lease."""

import asyncio

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from podium.v1 import tool_service_pb2, value_pb2, workflow_service_pb2
from tests.cable import Cable
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.history import check_versions
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import refusal_if_any
from tests.integration.rig.service_process import ServiceProcess

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED
LEASE_WITHIN_S = 60
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_second_service_on_the_same_file_is_refused(own_service, tmp_path):
    first = own_service().start()
    second = ServiceProcess(tmp_path, first.database)
    with pytest.raises(RuntimeError, match="is in use: process"):
        second.start()


async def test_a_replacement_on_the_same_postgres_goes_on_with_everything(tmp_path, own_service, postgres):
    """The first, which had a lease for another eight seconds, ends by itself and says why."""
    url = await postgres.create_database(migrated=False)
    first = own_service(database=url).start()
    ana = Caller(first.address, first.token())
    async with raw_executor(ana, "slow") as executor:
        workflow_id = await ana.start(step("slow"))
        await executor.work()
        # The keys are what both share, beside the database.
        (tmp_path / "second").symlink_to(first.directory, target_is_directory=True)
        second = ServiceProcess(tmp_path / "second", url, reconnect_grace_ms=2_500)
        await asyncio.to_thread(second.start)
        assert await asyncio.to_thread(first.ended) == 1
    assert "taken by another process" in first.log.read_text()
    bob = Caller(second.address, second.token())
    async with raw_executor(bob, "slow") as executor:
        again = await executor.work()
        assert again.attempt.workflow_id == workflow_id
        await executor.succeed(again.attempt)
        await executor.expect("outcome_acknowledged")
    assert (await bob.ended(workflow_id)).state == SUCCEEDED
    check_versions(await bob.history(workflow_id))
    assert (await bob.replay(workflow_id)).matches
    await ana.close()
    await bob.close()
    await asyncio.to_thread(second.stop)


async def test_a_service_that_cannot_serve_takes_nothing_from_one_that_does(tmp_path, own_service, postgres):
    """Neither one with another master key, nor one whose address is taken."""
    url = await postgres.create_database(migrated=False)
    first = own_service(database=url, seal_everything=True).start()
    ana = Caller(first.address, first.token())
    await ana.register("later")
    workflow_id = await ana.start(step("later"))
    stranger = ServiceProcess(tmp_path, url)
    with pytest.raises(RuntimeError, match="the master key does not open"):
        await asyncio.to_thread(stranger.start)
    (tmp_path / "twin").symlink_to(first.directory, target_is_directory=True)
    twin = ServiceProcess(tmp_path / "twin", url)
    twin.listen_on(first.port)
    with pytest.raises(RuntimeError, match="cannot listen"):
        await asyncio.to_thread(twin.start)
    assert (await ana.get(workflow_id)).workflow_id == workflow_id
    await ana.close()


async def test_a_service_that_is_cut_off_answers_nothing_from_memory_and_everything_again_later(own_service, postgres):
    async with Cable(await postgres.create_database(migrated=False)) as cable:
        service = own_service(database=cable.url)
        await asyncio.to_thread(service.start)
        ana = Caller(service.address, service.token())
        await ana.register("note")
        workflow_id = await ana.start(open=True)
        asked = [
            lambda: ana.tools.GetTool(tool_service_pb2.GetToolRequest(name="note")),
            lambda: ana.workflows.GetWorkflow(workflow_service_pb2.GetWorkflowRequest(workflow_id=workflow_id)),
        ]
        assert [await refusal_if_any(ask()) for ask in asked] == [None, None]
        cable.unplug()
        async with asyncio.timeout(LEASE_WITHIN_S):
            while not all(refusals := [await refusal_if_any(ask()) for ask in asked]):
                pass
        assert {(each.code, each.reason) for each in refusals} == {("UNAVAILABLE", "LEASE_EXPIRED")}
        health = health_pb2_grpc.HealthStub(ana.channel).Watch(health_pb2.HealthCheckRequest())
        async with asyncio.timeout(LEASE_WITHIN_S):
            while (await health.read()).status != NOT_SERVING:
                pass
        cable.plug()
        async with asyncio.timeout(LEASE_WITHIN_S):
            while (await health.read()).status == NOT_SERVING:
                pass
        health.cancel()
        async with asyncio.timeout(LEASE_WITHIN_S):
            while any([await refusal_if_any(ask()) for ask in asked]):
                pass
        await ana.close()
        await asyncio.to_thread(service.stop)
