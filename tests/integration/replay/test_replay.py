"""A workflow's state, rebuilt from the log, is the live one: for the service, and for whoever else reads the file."""

import asyncio
import hashlib
import shutil
import sqlite3

import pytest

from podium.v1 import definition_pb2
from service.main import ServeError, open_reader, replay_offline
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.toolbox import toolbox

CONTINUE = definition_pb2.ON_FAILURE_CONTINUE


async def offline(service, tenant, workflow_id):
    """What another reader of the file finds; the service keeps running."""
    return await asyncio.to_thread(replay_offline, service.database, workflow_id, tenant)


async def check(caller, service, tenant, workflow_id):
    """All three agree: the live state, the service's own replay, and that of a reader of the file."""
    told = await caller.replay(workflow_id)
    assert told.matches
    assert told.live_state_digest == told.rebuilt_state_digest
    assert len(told.live_state_digest) == 32
    found = await offline(service, tenant, workflow_id)
    assert (found.stream_version, found.state_digest) == (told.stream_version, told.live_state_digest)
    assert found.record_digests == list(told.record_digests)
    assert found.failed_version is None
    return told


async def test_a_running_workflow_matches_at_every_version(caller, service, tenant):
    seen = set()
    async with raw_executor(caller, "work") as executor:
        workflow_id = await caller.start(*[step("work", depends_on=[f"step_{n}"] if n else []) for n in range(4)])
        for _ in range(4):
            given = await executor.work()
            seen.add((await check(caller, service, tenant, workflow_id)).stream_version)
            await executor.succeed(given.attempt, "done")
        await caller.ended(workflow_id)
    assert len(seen) == 4


async def test_an_ended_workflow_with_everything_in_it_matches(caller, service, tenant, tools):
    each = definition_pb2.ForEach(items_json='"${steps.step_1.output}"', max_parallel=2)
    workflow_id = await caller.start(
        step("echo", {"value": [1, 2, 3]}),
        step("add", {"a": "${item}", "b": "${index}"}, for_each=each),
        step("flaky", {"failures": 1}, retry=definition_pb2.RetryPolicy(initial_backoff_ms=1)),
        step("careless", on_failure=CONTINUE),
        step("echo", condition="steps.step_1.output[0] > 5"),
        step("echo", {"value": "${input}"}, depends_on=["step_5"], join=definition_pb2.JOIN_DONE),
        step("echo", {"value": "x" * 100_000}),
        input_json='{"a": "ü"}',
        timeout_ms=60_000,
        max_parallel=3,
    )
    await caller.ended(workflow_id)
    await check(caller, service, tenant, workflow_id)


async def test_a_failed_a_denied_and_a_canceled_workflow_match(caller, admit, service, tenant, tools):
    failed = await caller.start(step("careless"), step("echo", depends_on=["step_1"]))
    denied = await admit("bob", roles=["agent"]).start(step("pay", {"cents": 1}))
    canceled = await caller.start(step("gated", {"gate": "never"}), step("echo", depends_on=["step_1"]), open=True)
    await tools.entered["never"].wait()
    await caller.cancel(canceled, reason="enough")
    for workflow_id in (failed, denied, canceled):
        await caller.ended(workflow_id)
        await check(caller, service, tenant, workflow_id)


async def test_a_call_a_batch_and_an_open_workflow_match(caller, service, tenant, connect):
    tools = toolbox()
    client = await connect(tools)
    await client.call("echo", value=1)
    await client.call_batch([("echo", {"value": 1}), ("careless", {})])
    growing = await caller.start(open=True)
    await caller.add(growing, step("echo"), request_id="r")
    async with open_reader(service.database) as log:
        known = [await log.list_streams(prefix) for prefix in ("wf_", "call_", "batch_")]
    mine = [workflow_id for streams in known for owner, workflow_id in streams if owner == tenant]
    assert {workflow_id.partition("_")[0] for workflow_id in mine} == {"wf", "call", "batch"}
    for workflow_id in mine:
        await check(caller, service, tenant, workflow_id)
    await caller.cancel(growing)


async def test_a_record_that_is_altered_in_a_copy_is_found_at_its_version(caller, service, tenant, tools, tmp_path):
    second = step("echo", {"value": "${steps.step_1.output}"})
    workflow_id = await caller.start(step("echo", {"value": "original"}), second)
    await caller.ended(workflow_id)
    told = await caller.replay(workflow_id)
    copy = tmp_path / "copy.db"
    with sqlite3.connect(service.database) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    unchanged = await asyncio.to_thread(replay_offline, copy, workflow_id, tenant)
    assert unchanged.record_digests == list(told.record_digests)
    event = next(each for each in await caller.history(workflow_id) if each.HasField("step_succeeded"))
    connection = sqlite3.connect(copy)
    for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    [[record]] = connection.execute("SELECT record FROM events WHERE position = ?", (event.position,)).fetchall()
    assert b"original" in record
    forged = record.replace(b"original", b"0riginal")
    connection.execute("UPDATE events SET record = ? WHERE position = ?", (forged, event.position))
    connection.commit()
    connection.close()
    found = await asyncio.to_thread(replay_offline, copy, workflow_id, tenant)
    pairs = enumerate(zip(found.record_digests, told.record_digests, strict=True), 1)
    differing = [version for version, (copied, original) in pairs if copied != original]
    assert differing == [event.stream_version]
    assert found.state_digest != told.live_state_digest
    assert found.record_digests[event.stream_version - 1] == hashlib.sha256(forged).digest()


async def test_reading_offline_writes_nothing_and_needs_a_file(service, tmp_path, caller, tenant, tools):
    workflow_id = await caller.start(step("echo"))
    await caller.ended(workflow_id)
    with pytest.raises(ServeError):
        await asyncio.to_thread(replay_offline, tmp_path / "nothing.db", workflow_id, tenant)
    assert not (tmp_path / "nothing.db").exists()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in service.directory.glob("podium.db*"):
        shutil.copy(file, copy)
    before = {file.name: file.read_bytes() for file in copy.glob("podium.db")}
    await asyncio.to_thread(replay_offline, copy / "podium.db", workflow_id, tenant)
    assert {file.name: file.read_bytes() for file in copy.glob("podium.db")} == before
