"""Restarts on virtual time, at the moments at which other systems lost work, did it twice or left it half done."""

import asyncio
import hashlib

import pytest

from podium.v1 import definition_pb2, value_pb2
from service.domain.canonical import state_digest
from service.domain.rebuild import rebuild
from service.engine import snapshots
from service.engine.keys import WorkflowKey
from service.engine.recovery import recover
from service.engine.residency import Residency
from store.records import decode_record
from tests.simulation.service_life import SETTINGS, ServiceGone
from tests.simulation.stage import play, step
from tests.simulation.virtual_time import elapse

PARKED_WITHIN_S = 15.0
PATIENT = definition_pb2.RetryPolicy(max_attempts=3, initial_backoff_ms=100, jitter=0)
OUTPUT = b'"an output over the inline limit"'
REFERENCE = value_pb2.PayloadReference(digest=hashlib.sha256(OUTPUT).digest(), size_bytes=len(OUTPUT))
MANY = 180
"""Items whose events, three each, make a stream that is worth a snapshot."""


def test_recovery_over_work_that_is_live_does_not_start_it_again():
    async def scene(stage):
        executor = await stage.executor()
        workflow_id = await stage.start(step("a"), step("b", needs=["a"]))
        a = await executor.hear("assign")
        for _ in range(3):
            await recover(stage.life.engine, stage.life.store)
        await elapse(SETTINGS.timings.reconcile_interval_ms / 1000)
        assert executor.hears_nothing()
        executor.succeed(a)
        executor.succeed(await executor.hear("assign"))
        await stage.until_ended(workflow_id)
        assert [each.attempt for each in stage.log.of_kind(workflow_id, "attempt_started")] == [1, 1]

    play(scene)


def test_an_attempt_that_was_recorded_and_not_sent_at_a_kill_runs_after_the_restart():
    async def scene(stage):
        await stage.executor("before")
        before = stage.life.store.submitted
        asked = asyncio.ensure_future(stage.start(step(retry=PATIENT)))
        await stage.until(lambda: stage.life.store.submitted > before)
        await stage.life.crash(committing=True)
        with pytest.raises(ServiceGone):
            await asked
        [workflow_id] = stage.log.workflows()
        assert [each.attempt for each in stage.log.of_kind(workflow_id, "attempt_started")] == [1]

        await stage.begin()
        executor = await stage.executor("after")
        sent = await executor.hear("assign")
        assert sent.attempt.attempt == 2
        executor.succeed(sent)
        await stage.until_ended(workflow_id)
        assert len(stage.log.of_kind(workflow_id, "step_succeeded")) == 1

    play(scene)


def test_an_output_that_is_stored_without_its_completion_leaves_the_step_running():
    async def scene(stage):
        executor = await stage.executor("one")
        workflow_id = await stage.start(step(retry=PATIENT))
        held = await executor.hear("assign")
        await stage.life.store.write_payload("acme", OUTPUT)
        before = stage.life.store.submitted
        executor.succeed(held, value_pb2.Value(payload=REFERENCE))
        await stage.until(lambda: stage.life.store.submitted > before)
        await stage.crash_and_begin()
        assert stage.log.of_kind(workflow_id, "step_succeeded") == []

        executor = await stage.executor("one", holding=[held])
        assert stage.kept(executor) == [True]
        executor.succeed(held, value_pb2.Value(payload=REFERENCE))
        assert await executor.outcome()
        await stage.until_ended(workflow_id)
        [done] = stage.log.of_kind(workflow_id, "step_succeeded")
        assert done.output.payload == REFERENCE

    play(scene)


def test_who_reads_a_workflow_in_the_moment_in_which_it_was_loaded_finds_its_attempts(monkeypatch):
    """An executor that came back in it was told to abort what it held, and an upload that nobody waited for it."""
    load = Residency.load

    async def scene(stage):
        executor = await stage.executor("one")
        workflow_id = await stage.start(step("a"))
        held = await executor.hear("assign")
        key, readings = WorkflowKey("acme", workflow_id), []

        async def load_and_read(residency, resident):
            await load(residency, resident)
            engine = stage.life.engine
            assert engine.attempts.find("acme", held.attempt) is None
            reading = engine.read(key, lambda _: engine.attempts.find("acme", held.attempt) is not None)
            # It runs before whatever the loading has run next.
            readings.append(asyncio.ensure_future(reading))

        monkeypatch.setattr(Residency, "load", load_and_read)
        await stage.crash_and_begin()
        await stage.until(lambda: readings)
        assert await asyncio.gather(*readings) == [True]

    play(scene)


async def run_many(stage):
    """An open run with a long stream, and the executor that did its items."""
    executor = await stage.executor()
    items = definition_pb2.ForEach(items_json=f"{list(range(MANY))}")
    workflow_id = await stage.start(step("many", for_each=items), is_open=True)
    for _ in range(MANY):
        executor.succeed(await executor.hear("assign"))
    await stage.until(lambda: len(stage.log.of_kind(workflow_id, "step_succeeded")) == MANY + 1)
    return workflow_id, executor


def snapshot_of(stage, workflow_id):
    """The version of its snapshot; None: there is none."""
    snapshot = stage.database.snapshots.get(("acme", workflow_id))
    return None if snapshot is None else snapshot.stream_version


def test_a_long_run_is_parked_with_a_snapshot_and_goes_on_from_it():
    async def scene(stage):
        workflow_id, executor = await run_many(stage)
        await stage.until(lambda: not stage.in_memory(workflow_id), PARKED_WITHIN_S)
        version = len(stage.log.records(workflow_id))
        assert snapshot_of(stage, workflow_id) == version
        await goes_on(stage, workflow_id, executor, version)

    play(scene)


async def goes_on(stage, workflow_id, executor, version):
    """A step is added, runs, and the state from the snapshot is the one that all the records make."""
    await stage.add(workflow_id, step("last", needs=["many"]))
    assigned = await executor.hear("assign")
    assert assigned.attempt.step_id == "last"
    resident = stage.resident(workflow_id)
    assert resident.snapshot_version == version
    executor.succeed(assigned)
    assert await executor.outcome()
    assert state_digest(resident.state) == state_digest(rebuild(stage.log.records(workflow_id), decode_record))


def test_a_long_run_gets_snapshots_while_it_runs_and_a_restart_begins_with_the_last(monkeypatch):
    monkeypatch.setattr(snapshots, "RUNNING_EVENTS", 100)

    async def scene(stage):
        workflow_id, executor = await run_many(stage)
        await stage.add(workflow_id, step("runs", needs=["many"]))
        held = await executor.hear("assign")
        await stage.until(lambda: snapshot_of(stage, workflow_id) is not None, PARKED_WITHIN_S)
        assert stage.in_memory(workflow_id)
        version = snapshot_of(stage, workflow_id)
        await stage.crash_and_begin()
        executor = await stage.executor("one", holding=[held])
        assert stage.kept(executor) == [True]
        executor.succeed(held)
        assert await executor.outcome()
        await goes_on(stage, workflow_id, executor, version)

    play(scene)
