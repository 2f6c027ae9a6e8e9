"""Data keys are listed, rotated and destroyed by their tenant alone; what a destroyed key sealed is erased."""

import json

import pytest

from podium.v1 import admin_service_pb2 as pb
from podium.v1 import executor_service_pb2 as pb_executor
from podium.v1 import value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import invalid, refusal_of
from tests.integration.rig.vault import CANARY, files_with, tools, vault

pytestmark = pytest.mark.both_databases

FAILED = value_pb2.WORKFLOW_STATE_FAILED


async def keys(caller):
    return list((await caller.admin.ListDataKeys(pb.ListDataKeysRequest())).keys)


async def current(caller):
    [key] = [key for key in await keys(caller) if key.current]
    return key.key_id


async def destroy(caller, key_id):
    return (await caller.admin.DestroyDataKey(pb.DestroyDataKeyRequest(key_id=key_id))).key


async def test_a_tenant_sees_and_destroys_its_own_keys_alone(caller, admit):
    stranger = admit("eve", tenant=f"{id(caller)}-other")
    async with raw_executor(caller, *tools(marked=True)):
        [key] = await keys(caller)
    assert key.current
    assert key.made_at_us > 0
    assert key.destroyed_at_us == 0
    assert await keys(stranger) == []
    refusal = await refusal_of(destroy(stranger, key.key_id))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "DATA_KEY_NOT_FOUND")
    assert await keys(caller) == [key]
    assert (await invalid(destroy(caller, ""))).fields == {"key_id"}


async def test_after_a_rotation_everything_is_readable(caller):
    async with vault(caller):
        before = await caller.start(step("vault", {"secret": CANARY}))
        await caller.ended(before)
        rotated = (await caller.admin.RotateDataKey(pb.RotateDataKeyRequest())).key
        after = await caller.start(step("vault", {"secret": CANARY}))
        await caller.ended(after)
    assert [key.current for key in await keys(caller)] == [False, True]
    assert await current(caller) == rotated.key_id
    for workflow_id in (before, after):
        assert json.loads((await caller.steps(workflow_id))["step_1"].output_json)["secret"] == CANARY
    [ended] = [each.step_succeeded for each in await caller.history(after) if each.HasField("step_succeeded")]
    assert ended.output.sealed.key_id == rotated.key_id


async def test_what_a_destroyed_key_sealed_is_erased_everywhere_and_every_proof_stays(own_service, admit):
    service = own_service().start()
    caller = admit(to=service)
    async with vault(caller):
        workflow_id = await caller.start(step("vault", {"secret": CANARY}), open=True)
        await caller.call("plain")
        replayed = await caller.replay(workflow_id)
        log = await caller.log()
        destroyed = await destroy(caller, await current(caller))
        assert destroyed.destroyed_at_us > destroyed.made_at_us
        assert not destroyed.current
        assert (await destroy(caller, destroyed.key_id)) == destroyed

        # A step that needs it fails and says why; it is not tried again and again.
        await caller.add(workflow_id, step("plain", {"again": "${steps.step_1.output.secret}"}, id="needs_it"))
        await caller.add(workflow_id, step("vault", {"secret": CANARY}, id="later"))
        await caller.finish(workflow_id)
        ended = await caller.ended(workflow_id)
        steps = await caller.steps(workflow_id)

    assert (ended.state, ended.failure.reason) == (FAILED, "SEAL_BROKEN")
    assert "destroyed" in steps["needs_it"].failure.message
    assert steps["needs_it"].attempts == 0
    assert (steps["step_1"].output_json, steps["step_1"].output_failure.reason) == ("", "SEAL_BROKEN")
    assert json.loads(steps["later"].output_json)["secret"] == CANARY, "it is sealed with the key that followed"
    after = await caller.log()
    assert after[: len(log)] == log
    again = await caller.replay(workflow_id)
    assert again.matches
    assert again.record_digests[: len(replayed.record_digests)] == replayed.record_digests
    await told_by_a_restart(service, admit, workflow_id, destroyed, steps)


async def told_by_a_restart(service, admit, workflow_id, destroyed, steps):
    """A service that starts on the files knows no more of the value, and tells the same of the key."""
    service.kill()
    service.start()
    caller = admit(to=service)
    assert await caller.steps(workflow_id) == steps
    assert (await keys(caller))[0] == destroyed
    assert (await caller.replay(workflow_id)).matches
    service.stop()
    assert files_with(service.directory, CANARY.encode()) == []


async def test_items_of_a_sealed_list_that_wait_are_erased_with_their_key(caller):
    async with raw_executor(caller, *tools(marked=True), max_attempts=1) as executor:
        each = step("vault", {"secret": "${item}"}, id="each", on_failure=2)
        each.for_each.items_json = json.dumps([CANARY, CANARY])
        each.for_each.max_parallel = 1
        workflow_id = await caller.start(each)
        first = await executor.work()
        assert json.loads(first.arguments_json) == {"secret": CANARY}
        await destroy(caller, await current(caller))
        await executor.succeed(first.attempt, {"secret": "mine"})
        await caller.ended(workflow_id)
    steps = await caller.steps(workflow_id)
    assert steps["each[1]"].failure.reason == "SEAL_BROKEN"
    assert steps["each[0]"].state == value_pb2.STEP_STATE_SUCCEEDED


async def test_a_value_that_is_erased_is_refused_to_an_executor_that_asks_for_it_again(caller):
    large = {"secret": CANARY + "x" * 100_000}
    async with raw_executor(caller, *tools(marked=True)) as executor:
        await caller.start(step("vault", large))
        work = await executor.work()
        await destroy(caller, await current(caller))
        refusal = await refusal_of(caller.executors.GetArguments(pb_executor.GetArgumentsRequest(attempt=work.attempt)))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "SEAL_BROKEN")
    assert CANARY not in refusal.message


async def test_a_new_master_key_takes_over_and_the_previous_one_can_go(own_service, admit):
    service = own_service().start()
    caller = admit(to=service)
    async with vault(caller):
        workflow_id = await caller.start(step("vault", {"secret": CANARY}))
        await caller.ended(workflow_id)
    service.stop()
    state = service.directory / "state"
    previous = state / "previous.key"
    (state / "master.key").rename(previous)

    service.configure(previous_master_key_file=previous).start()
    assert "1 data keys were wrapped anew" in service.log.read_text()
    service.stop()
    previous.unlink()
    service.configure(previous_master_key_file="").start()
    caller = admit(to=service)
    assert json.loads((await caller.steps(workflow_id))["step_1"].output_json)["secret"] == CANARY


async def test_a_previous_master_key_that_is_missing_or_open_to_others_is_refused(own_service):
    service = own_service().start()
    service.stop()
    previous = service.directory / "state" / "previous.key"
    with pytest.raises(RuntimeError, match="cannot be read"):
        service.configure(previous_master_key_file=previous).start()
    previous.write_text("00" * 32)
    previous.chmod(0o644)
    with pytest.raises(RuntimeError, match="chmod 600"):
        service.start()
