"""The runner: every event once, whatever happens; waits; failures that stay where they are."""

import asyncio
import logging

import pytest
from sqlalchemy import inspect

from podium.v1 import events_pb2
from service.projections import checkpoints
from service.projections.runner import (
    ProjectionBehindError,
    ProjectionFailedError,
    ProjectionRunner,
    RunnerState,
)
from store.contract import StoreClosedError, SubscriptionBatch
from tests.unit.projections.memory_log import MemoryLog
from tests.unit.projections.tally import Tally

WAIT_S = 30
UNKNOWN_TYPE = 4711


def log_of(events, batch_events=1000):
    log = MemoryLog(batch_events)
    log.record("acme", "workflow-1", *(events_pb2.StepCanceled(step_id=f"step_{n}") for n in range(events)))
    return log


def unknown_event(log, *, ignorable):
    event = events_pb2.Event(
        position=log.head + 1, tenant="acme", stream_id="workflow-1", type=UNKNOWN_TYPE, ignorable=ignorable
    )
    log.record_bytes("acme", "workflow-1", UNKNOWN_TYPE, event.SerializeToString())


async def test_every_event_is_applied_once_and_in_order(database, following):
    tally = Tally()
    async with following(tally, log_of(25, batch_events=10)) as runner:
        assert await tally.positions(database) == list(range(1, 26))
        assert (runner.position, runner.lag) == (25, 0)


async def test_what_commits_later_is_applied(database, following):
    log, tally = log_of(1), Tally()
    async with following(tally, log) as runner:
        await log.append("acme", "workflow-1", events_pb2.WorkflowCanceled())
        await runner.wait_for(2, WAIT_S)
        assert await tally.positions(database) == [1, 2]


async def test_a_runner_that_is_up_to_date_is_live(database, following):
    log = log_of(3)
    async with following(Tally(), log) as runner:
        assert runner.state is RunnerState.LIVE
    assert runner.state is RunnerState.STOPPED


async def test_lag_is_what_the_log_is_ahead(database):
    runner = ProjectionRunner(Tally(), database, log_of(7))
    await runner.open()
    assert runner.lag == 7


async def test_a_restart_goes_on_where_it_was(database, following):
    log, tally = log_of(5), Tally()
    async with following(tally, log):
        pass
    log.record("acme", "workflow-1", events_pb2.WorkflowCanceled())
    async with following(Tally(), log):
        assert await tally.positions(database) == [1, 2, 3, 4, 5, 6]


async def test_another_schema_version_is_rebuilt_from_the_beginning(database, following):
    log = log_of(5)
    async with following(Tally(schema_version=1), log):
        pass
    renewed = Tally(schema_version=2)
    async with following(renewed, log):
        assert await renewed.positions(database) == [1, 2, 3, 4, 5]


async def test_a_rebuild_drops_the_tables_of_the_old_version_and_no_other(database, following):
    log = log_of(1)
    async with following(Tally(schema_version=1), log):
        pass

    def make(connection):
        connection.exec_driver_sql("CREATE TABLE tally_of_old (x)")
        connection.exec_driver_sql("CREATE TABLE tallies (x)")

    await database.write(make)
    async with following(Tally(schema_version=2), log):
        names = await database.read(lambda connection: inspect(connection).get_table_names())
    assert names == ["checkpoints", "tallies", "tally"]


async def test_a_log_that_was_set_back_is_read_from_the_beginning(database, following):
    async with following(Tally(), log_of(5)):
        pass
    tally = Tally()
    async with following(tally, log_of(3)):
        assert await tally.positions(database) == [1, 2, 3]


async def test_a_log_that_was_set_back_and_grew_again_is_read_from_the_beginning(database, following):
    async with following(Tally(), log_of(5)):
        pass
    other, tally = log_of(3), Tally()
    other.record("acme", "workflow-2", *(events_pb2.WorkflowCanceled() for _ in range(4)))
    async with following(tally, other):
        assert await tally.positions(database) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_read_waits_until_the_projection_has_got_there(database, following):
    log, tally = log_of(1), Tally()
    async with following(tally, log) as runner, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(runner.wait_for(3, WAIT_S))
        await log.append("acme", "workflow-1", events_pb2.WorkflowFinishRequested())
        await runner.wait_for(2, WAIT_S)
        assert not waiting.done()
        await log.append("acme", "workflow-1", events_pb2.WorkflowSucceeded())
        await waiting
        assert await tally.positions(database) == [1, 2, 3]


async def test_a_waiting_read_is_not_held_up_while_commits_gather(database):
    log = log_of(1)
    runner = ProjectionRunner(Tally(), database, log, gathering_s=3600)
    await runner.open()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(runner.run())
        await runner.wait_for(1, WAIT_S)
        await log.append("acme", "workflow-1", events_pb2.WorkflowSucceeded())
        await runner.wait_for(2, WAIT_S)
        task.cancel()


async def test_a_position_that_does_not_come_ends_the_wait(database, following):
    async with following(Tally(), log_of(1)) as runner:
        with pytest.raises(ProjectionBehindError, match="is at 1, and not at 99"):
            await runner.wait_for(99, 0.001)


async def test_an_event_that_cannot_be_applied_stops_the_projection_before_it(database, caplog):
    log, tally = log_of(5), Tally(fails_at=4)
    runner = ProjectionRunner(tally, database, log)
    await runner.open()
    with caplog.at_level(logging.ERROR):
        await runner.run()
    assert "cannot apply event 4, step_canceled at 4 of workflow-1, tenant acme" in caplog.records[0].message
    assert runner.state is RunnerState.FAILED
    assert await tally.positions(database) == [1, 2, 3]
    assert runner.lag == 2


async def test_a_failed_projection_refuses_every_wait(database):
    runner = ProjectionRunner(Tally(fails_at=2), database, log_of(2))
    await runner.open()
    async with asyncio.TaskGroup() as tasks:
        waiting = asyncio.gather(runner.wait_for(2, WAIT_S), return_exceptions=True)
        tasks.create_task(runner.run())
    assert isinstance((await waiting)[0], ProjectionFailedError)
    with pytest.raises(ProjectionFailedError, match="tally has failed at 1"):
        await runner.wait_for(0, WAIT_S)


async def test_a_failed_projection_goes_on_once_its_bug_is_mended(database, following):
    log = log_of(5)
    runner = ProjectionRunner(Tally(fails_at=4), database, log)
    await runner.open()
    await runner.run()
    mended = Tally()
    async with following(mended, log):
        assert await mended.positions(database) == [1, 2, 3, 4, 5]


async def test_a_stopped_runner_lets_go_of_those_who_wait(database):
    runner = ProjectionRunner(Tally(), database, log_of(1))
    await runner.open()
    waiting = asyncio.gather(runner.wait_for(9, WAIT_S), return_exceptions=True)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(runner.run())
        await runner.wait_for(1, WAIT_S)
        task.cancel()
    assert isinstance((await waiting)[0], ProjectionFailedError)


async def test_a_log_that_closes_is_no_failure(database, caplog):
    class Closing(MemoryLog):
        async def subscribe(self, after_position=0, tenant=None):
            yield SubscriptionBatch(self.events, self.head, caught_up=True)
            raise StoreClosedError("the store was closed")

    log = Closing()
    log.record("acme", "workflow-1", events_pb2.WorkflowCanceled())
    runner = ProjectionRunner(Tally(), database, log)
    await runner.open()
    await runner.run()
    assert (runner.state, runner.position) == (RunnerState.STOPPED, 1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_gap_in_what_is_delivered_is_refused(database):
    class Gapped(MemoryLog):
        async def subscribe(self, after_position=0, tenant=None):
            yield SubscriptionBatch([self.events[0], self.events[2]], 3, caught_up=True)

    log = Gapped()
    log.record("acme", "workflow-1", *(events_pb2.WorkflowCanceled() for _ in range(3)))
    tally = Tally()
    runner = ProjectionRunner(tally, database, log)
    await runner.open()
    await runner.run()
    assert runner.state is RunnerState.FAILED
    assert await tally.positions(database) == []


async def test_an_unknown_event_that_is_ignorable_does_not_stop_it(database, following):
    log = log_of(1)
    unknown_event(log, ignorable=True)
    async with following(Tally(), log) as runner:
        assert runner.position == 2


async def test_an_unknown_event_that_is_not_ignorable_stops_it(database, caplog):
    log = log_of(1)
    unknown_event(log, ignorable=False)
    runner = ProjectionRunner(Tally(), database, log)
    await runner.open()
    await runner.run()
    assert runner.position == 1
    assert "run a version at least as new as the one that wrote it" in caplog.text


async def test_a_projection_that_passed_over_an_event_is_rebuilt_by_a_version_that_knows_it(
    database, following, monkeypatch
):
    log = log_of(1)
    unknown_event(log, ignorable=True)
    async with following(Tally(), log):
        pass
    monkeypatch.setitem(checkpoints.TYPE_NAMES, UNKNOWN_TYPE, "step_dreamt")
    runner = ProjectionRunner(Tally(), database, log)
    await runner.open()
    assert runner.position == 0
