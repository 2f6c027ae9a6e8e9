"""A workflow whose events cannot be folded is set aside, and goes on once it is mended; the others do all the while."""

import contextlib
import sqlite3

from podium.v1 import admin_service_pb2 as pb
from podium.v1 import value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import refusal_of

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED
OF_VERSION = "stream_version = 2 AND stream_key = (SELECT stream_key FROM streams WHERE stream_id = ?)"


def recorded(database, workflow_id, record=None):
    """The second record of a workflow in a file; with `record` it is altered, in spite of the triggers."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        (before,) = connection.execute(f"SELECT record FROM events WHERE {OF_VERSION}", (workflow_id,)).fetchone()
        if record is not None:
            triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                connection.execute(f'DROP TRIGGER "{name}"')
            connection.execute(f"UPDATE events SET record = ? WHERE {OF_VERSION}", (record, workflow_id))
            for _, statement in triggers:
                connection.execute(statement)
    return before


async def quarantined(caller):
    answer = await caller.admin.ListQuarantined(pb.ListQuarantinedRequest())
    return {workflow.workflow_id: workflow.problem for workflow in answer.workflows}


async def release(caller, workflow_id):
    return await caller.admin.ReleaseQuarantined(pb.ReleaseQuarantinedRequest(workflow_id=workflow_id))


async def test_a_workflow_is_quarantined_and_goes_on_once_it_is_mended(own_service, admit):
    service = own_service().start()
    caller = admit(to=service)
    await caller.register("work")
    broken, sound = await caller.start(step("work")), await caller.start(step("work"))
    service.stop()
    record = recorded(service.database, broken)
    # The step it adds has another name: what follows speaks of a step that there is not.
    recorded(service.database, broken, record.replace(b"step_1", b"step_9"))
    service.start()
    caller, stranger = admit(to=service), admit("eve", to=service, tenant="others")

    refusal = await refusal_of(caller.get(broken))
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "STREAM_QUARANTINED")
    problems = await quarantined(caller)
    assert problems.keys() == {broken}
    assert problems[broken] in service.log.read_text()
    assert "1 open workflows cannot be folded" in service.log.read_text()
    assert await quarantined(stranger) == {}
    assert (await refusal_of(release(stranger, broken))).reason == "NOT_QUARANTINED"
    assert (await refusal_of(release(caller, sound))).reason == "NOT_QUARANTINED"

    async with raw_executor(caller, "work") as executor:
        work = await executor.work()
        assert work.attempt.workflow_id == sound
        await executor.succeed(work.attempt)
        assert (await caller.ended(sound)).state == SUCCEEDED

        still = await release(caller, broken)
        assert (still.released, still.problem) == (False, problems[broken])
        assert await quarantined(caller) == problems

        recorded(service.database, broken, record)
        assert await release(caller, broken) == pb.ReleaseQuarantinedResponse(released=True)
        assert await quarantined(caller) == {}
        work = await executor.work()
        assert work.attempt.workflow_id == broken
        await executor.succeed(work.attempt)
        assert (await caller.ended(broken)).state == SUCCEEDED
    assert (await caller.replay(broken)).matches
