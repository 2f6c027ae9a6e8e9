"""Snapshots spare a fold and change nothing: with any doubt about one, the events tell."""

import asyncio
import json
import logging
import shutil
from dataclasses import replace

import pytest

import service.domain
from podium.v1 import events_pb2, value_pb2
from service.domain.canonical import state_digest
from service.domain.effects import changed_effects, effects
from service.domain.errors import Unavailable
from service.domain.snapshot import pieces_of
from service.engine import snapshots
from service.engine.keys import WorkflowKey
from service.engine.resident import Resident
from service.engine.snapshots import (
    AT_REST_EVENTS,
    RUNNING_EVENTS,
    Snapshots,
    SnapshotTooLargeError,
    is_due,
    is_due_at_rest,
    state_schema,
)
from store.contract import StoreClosedError
from tests.unit.snapshots.conftest import SECRET
from tests.unit.snapshots.long_stream import KEY, record_of


@pytest.fixture
async def folded(load):
    """The workflow as a fold of all its events makes it, before there is a snapshot."""
    return await load()


@pytest.fixture
async def snapshot(log, folded):
    """Its snapshot, as it is in the log."""
    await Snapshots(log, SECRET).write(folded)
    return log.snapshot


def known(resident):
    """What is known of a workflow in memory: its state and all that is beside it."""
    marks = {
        name: (mark.queued_position, mark.started_us, mark.ended_us, mark.ended_position)
        for name, mark in resident.marks.items()
    }
    beside = resident.version, resident.principal, resident.started_us, resident.ended_us
    return state_digest(resident.state), effects(resident.state), marks, beside


def asked_for(resident):
    """What the engine is asked for when it looks at a workflow that was just loaded."""
    return {step_id: effect for step_id, effect in changed_effects(resident.state).items() if effect is not None}


async def test_a_stream_is_loaded_from_its_snapshot_and_what_came_after(log, load, folded, snapshot):
    last = folded.state.steps["step_399"]
    succeeded = events_pb2.StepSucceeded(step_id=last.id, attempt=1)
    log.events.append(record_of(succeeded, len(log.events) + 1))
    log.snapshot = None
    expected = await load()
    log.snapshot, log.events_read = snapshot, 0
    loaded = await load()
    assert loaded.snapshot_version == snapshot.stream_version == len(log.events) - 1
    assert known(loaded) == known(expected)
    assert asked_for(loaded) == asked_for(expected) == {}
    assert log.events_read == AT_REST_EVENTS + 2, "a page to see that it is long, the snapshot's last event, the rest"


async def test_what_runs_is_asked_for_again(load, folded, snapshot):
    assert asked_for(folded) == asked_for(await load()) == effects(folded.state)
    assert effects(folded.state)


async def test_without_a_snapshot_every_event_is_folded(log, load):
    loaded = await load()
    assert (loaded.version, loaded.snapshot_version) == (len(log.events), 0)
    assert log.events_read == len(log.events)


async def test_a_short_stream_is_not_asked_for_a_snapshot(log, load):
    del log.events[AT_REST_EVENTS - 1 :]
    log.read_snapshot = None
    assert (await load()).version == AT_REST_EVENTS - 1


async def test_a_snapshot_of_another_fold_is_dropped(log, load, folded, caplog):
    await Snapshots(log, SECRET, schema=b"another fold").write(folded)
    await dropped(load, folded, caplog, "another fold made it")


async def test_a_snapshot_that_another_key_authenticated_is_dropped(log, load, folded, caplog):
    await Snapshots(log, bytes(32)).write(folded)
    await dropped(load, folded, caplog, "another master key authenticated it")


@pytest.mark.parametrize("place", [0, 31, 32, 40, 1000, -1])
async def test_a_snapshot_with_a_flipped_bit_is_dropped(log, load, folded, snapshot, caplog, place):
    data = bytearray(snapshot.data)
    data[place] ^= 1
    log.snapshot = replace(snapshot, data=bytes(data))
    await dropped(load, folded, caplog, "not what was written")


async def test_a_snapshot_that_was_cut_off_is_dropped(log, load, folded, snapshot, caplog):
    for length in (0, 10, 32, len(snapshot.data) - 1):
        log.snapshot = replace(snapshot, data=snapshot.data[:length])
        caplog.clear()
        await dropped(load, folded, caplog, "")


async def test_a_snapshot_ahead_of_its_stream_is_dropped(log, load, snapshot, caplog):
    log.events.pop()
    log.snapshot = None
    expected = await load()
    log.snapshot = snapshot
    await dropped(load, expected, caplog, "has no such version")


async def test_a_snapshot_of_another_history_is_dropped(log, load, snapshot, caplog):
    last = events_pb2.AttemptStarted(step_id="step_399", attempt=1, fence=400, executor="another")
    log.events[-1] = record_of(last, len(log.events))
    log.snapshot = None
    expected = await load()
    log.snapshot = snapshot
    await dropped(load, expected, caplog, "has no such version")


async def test_a_snapshot_of_another_stream_is_dropped(log, load, folded, caplog):
    other = Resident(WorkflowKey(KEY.tenant, "wf_other"))
    other.version, other.state = folded.version, folded.state
    read_stream = log.read_stream

    async def read_any(tenant, _stream_id, **bounds):
        return await read_stream(tenant, KEY.workflow_id, **bounds)

    log.read_stream = read_any
    await Snapshots(log, SECRET).write(other)
    await dropped(load, folded, caplog, "has no such version")


async def test_a_snapshot_that_cannot_be_read_is_dropped(log, load, folded, caplog):
    async def fail(_tenant, _stream_id):
        raise StoreClosedError("the disk is gone")

    log.read_snapshot = fail
    await dropped(load, folded, caplog, "it cannot be read (StoreClosedError)")


async def test_events_that_do_not_follow_from_a_snapshot_are_folded_from_the_beginning(log, load, folded, caplog):
    # A snapshot that lacks a step, authenticated as it is: a fault of the program and not of the disk.
    del folded.state.steps["step_399"]
    folded.state.timers.clear()
    await Snapshots(log, SECRET).write(folded)
    log.events.append(record_of(events_pb2.StepSucceeded(step_id="step_399", attempt=1), len(log.events) + 1))
    snapshot, log.snapshot = log.snapshot, None
    expected = await load()
    log.snapshot = snapshot
    await dropped(load, expected, caplog, "what follows does not fit it")


async def dropped(load, folded, caplog, why):
    """The workflow is loaded as if there was no snapshot, and the log says why."""
    with caplog.at_level(logging.INFO):
        loaded = await load()
    assert loaded.snapshot_version == 0
    assert known(loaded) == known(folded)
    assert asked_for(loaded) == effects(folded.state)
    [told] = [record.getMessage() for record in caplog.records if "snapshot" in record.getMessage()]
    assert told.startswith("the snapshot of wf_long is dropped: ")
    assert why in told


async def test_a_snapshot_is_due_after_many_events_and_rarely_while_it_runs(folded):
    folded.snapshot_version = folded.version - AT_REST_EVENTS + 1
    assert not is_due_at_rest(folded)
    folded.snapshot_version -= 1
    assert is_due_at_rest(folded)
    assert not is_due(folded)
    folded.version = 100 * RUNNING_EVENTS
    folded.snapshot_version = folded.version - RUNNING_EVENTS
    assert not is_due(folded), "a long stream is written less often"
    folded.snapshot_version = folded.version - folded.version // 4
    assert is_due(folded)


def test_the_schema_changes_with_any_source_of_the_fold(monkeypatch, tmp_path):
    copy = shutil.copytree(service.domain.__path__[0], tmp_path / "domain")
    monkeypatch.setattr(service.domain, "__path__", [str(copy)])
    assert state_schema.__wrapped__() == state_schema()
    with (copy / "evolve.py").open("a") as source:
        source.write("# Another fold.\n")
    assert state_schema.__wrapped__() != state_schema()


async def test_a_stream_that_cannot_be_folded_is_quarantined_whatever_it_stumbles_over(log, load, caplog):
    log.events[1] = record_of(events_pb2.ForEachExpanded(step_id="nowhere", count=1), 2)
    with pytest.raises(Unavailable, match="KeyError") as refused:
        await load()
    assert refused.value.reason == "STREAM_QUARANTINED"
    assert "wf_long cannot be folded" in caplog.text


async def test_other_work_has_its_turn_between_the_pieces(log, load, folded, snapshot):
    turns = 0

    async def work():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    pieces = sum(1 for _ in pieces_of(folded.state))
    async with asyncio.TaskGroup() as group:
        other = group.create_task(work())
        await Snapshots(log, SECRET).write(folded)
        assert turns >= pieces
        turns = 0
        await load()
        assert turns >= pieces
        other.cancel()


async def test_large_values_are_in_pieces_of_their_own(folded):
    for number in range(10):
        folded.state.steps[f"step_{number}"].output = value_pb2.Value(json='"' + "x" * 60_000 + '"')
    sizes = [len(json.dumps(piece)) for piece in pieces_of(folded.state)]
    assert max(sizes) < 2 * 60_000


async def test_a_state_that_is_too_large_gets_no_snapshot_and_is_not_tried_again_at_once(log, folded, monkeypatch):
    monkeypatch.setattr(snapshots, "BYTES_MAX", 1000)
    assert is_due_at_rest(folded)
    with pytest.raises(SnapshotTooLargeError):
        await Snapshots(log, SECRET).write(folded)
    assert log.snapshot is None
    assert not is_due_at_rest(folded)
