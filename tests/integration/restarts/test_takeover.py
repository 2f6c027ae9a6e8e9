"""A second service on a database: refused where the first has a lock, in its place at once where there is a lease."""

import asyncio

import pytest

from podium.v1 import value_pb2
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.history import check_versions
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.service_process import ServiceProcess

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED


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
