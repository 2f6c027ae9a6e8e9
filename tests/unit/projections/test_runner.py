"""The runner: every event once, whatever happens; waits; failures that stay where they are."""

import asyncio
import logging

import pytest
from sqlalchemy import inspect

from podium.v1 import events_pb2
from service.projections import checkpoints, generation
from service.projections import runner as running_projections
from service.projections.database import DatabaseUnavailableError
from service.projections.generation import ProjectionFailedError
from service.projections.runner import ProjectionBehindError, RunnerState
from store.contract import StoreClosedError, SubscriptionBatch
from tests.unit.projections.conftest import running
from tests.unit.projections.memory_log import EVENT_EVERY_US, STARTED_AT_US, MemoryLog
from tests.unit.projections.tally import tallied, tally
from tests.unit.projections.unreliable import Unreliable

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


async def test_every_event_is_applied_once_and_in_order(following):
    async with following(tally(), log_of(25, batch_events=10)) as runner:
        assert await tallied(runner) == list(range(1, 26))
        assert (runner.position, runner.lag) == (25, 0)


async def test_what_commits_later_is_applied(following):
    log = log_of(1)
    async with following(tally(), log) as runner:
        await log.append("acme", "workflow-1", events_pb2.WorkflowCanceled())
        await runner.wait_for(2, WAIT_S)
        assert await tallied(runner) == [1, 2]


async def test_a_runner_that_is_up_to_date_is_live(following):
    log = log_of(3)
    async with following(tally(), log) as runner:
        assert runner.state is RunnerState.LIVE
    assert runner.state is RunnerState.STOPPED


async def test_lag_is_what_the_log_is_ahead_in_events_and_in_time(opened):
    runner = await opened(tally(), log_of(7))
    assert runner.lag == 7
    # The clock stands at the last event, and the first is the oldest that is missing.
    assert await runner.lag_us() == 6 * EVENT_EVERY_US


async def test_a_runner_that_is_up_to_date_does_not_lag(following):
    async with following(tally(), log_of(7)) as runner:
        assert (runner.lag, await runner.lag_us()) == (0, 0)


async def test_the_heartbeat_goes_on_when_nothing_happens(opened, monkeypatch):
    class Ticking:
        ticks = 0
        third = asyncio.Event()

        def now_us(self):
            self.ticks += 1
            if self.ticks > 3:
                self.third.set()
            return STARTED_AT_US + self.ticks

    monkeypatch.setattr(running_projections, "HEARTBEAT_S", 0.001)
    clock = Ticking()
    runner = await opened(tally(), log_of(0), clock=clock)
    before = runner.heartbeat_at_us
    async with running(runner), asyncio.timeout(WAIT_S):
        await clock.third.wait()
    assert runner.heartbeat_at_us > before


async def test_the_heartbeat_of_one_that_is_behind_and_does_nothing_stands_still(opened, monkeypatch):
    """What a missed wake-up looks like."""

    class Silent(MemoryLog):
        async def subscribe(self, after_position=0, tenant=None):
            yield SubscriptionBatch([], 0, caught_up=True)
            silent.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(running_projections, "HEARTBEAT_S", 0.001)
    silent, log = asyncio.Event(), Silent()
    runner = await opened(tally(), log)
    async with running(runner), asyncio.timeout(WAIT_S):
        await silent.wait()
        log.record("acme", "workflow-1", events_pb2.WorkflowCanceled())
        before = runner.heartbeat_at_us
        with pytest.raises(ProjectionBehindError):
            await runner.wait_for(1, 0.05)
        assert runner.heartbeat_at_us == before
        assert await runner.lag_us() == 0


async def test_a_restart_goes_on_where_it_was(following):
    log = log_of(5)
    async with following(tally(), log):
        pass
    log.record("acme", "workflow-1", events_pb2.WorkflowCanceled())
    async with following(tally(), log) as runner:
        assert await tallied(runner) == [1, 2, 3, 4, 5, 6]
        assert runner.model.served.number == 1


async def test_another_schema_version_is_built_from_the_beginning(following):
    log = log_of(5)
    async with following(tally(schema_version=1), log):
        pass
    async with following(tally(schema_version=2), log) as runner:
        assert await tallied(runner) == [1, 2, 3, 4, 5]


async def test_a_projection_that_is_built_from_the_beginning_is_not_read_before_it_is_whole(opened):
    log = log_of(5, batch_events=1)
    runner = await opened(tally(), log)
    with pytest.raises(ProjectionBehindError, match="is at 0, and not at 5"):
        await runner.wait_for(0, 0.001)
    async with running(runner):
        await runner.wait_for(0, WAIT_S)
        assert await tallied(runner) == [1, 2, 3, 4, 5]


async def test_that_it_is_not_whole_outlives_the_process(opened):
    log = log_of(5)
    await opened(tally(), log)
    runner = await opened(tally(), log)
    with pytest.raises(ProjectionBehindError):
        await runner.wait_for(0, 0.001)


async def test_tables_of_no_generation_are_dropped_and_no_others(database, following):
    def make(connection):
        for name in ("tally", "tally_of_old", "tally_1_more", "tallies"):
            connection.exec_driver_sql(f"CREATE TABLE {name} (x INTEGER)")

    log = log_of(1)
    async with following(tally(schema_version=1), log):
        pass
    await database.write(make)
    async with following(tally(schema_version=2), log):
        names = await database.read(lambda connection: inspect(connection).get_table_names())
    assert sorted(set(names) - {"fence"}) == ["checkpoints", "tallies", "tally_2"]


async def test_checkpoints_of_an_older_layout_are_begun_anew(database, following):
    def make(connection):
        connection.exec_driver_sql("CREATE TABLE checkpoints (projection TEXT PRIMARY KEY, position INTEGER)")
        connection.exec_driver_sql("INSERT INTO checkpoints VALUES ('tally', 3)")

    await database.write(make)
    async with following(tally(), log_of(5)) as runner:
        assert await tallied(runner) == [1, 2, 3, 4, 5]


async def test_a_log_that_was_set_back_is_read_from_the_beginning(following):
    async with following(tally(), log_of(5)):
        pass
    async with following(tally(), log_of(3)) as runner:
        assert await tallied(runner) == [1, 2, 3]


async def test_a_log_that_was_set_back_and_grew_again_is_read_from_the_beginning(following):
    async with following(tally(), log_of(5)):
        pass
    other = log_of(3)
    other.record("acme", "workflow-2", *(events_pb2.WorkflowCanceled() for _ in range(4)))
    async with following(tally(), other) as runner:
        assert await tallied(runner) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_read_waits_until_the_projection_has_got_there(following):
    log = log_of(1)
    async with following(tally(), log) as runner, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(runner.wait_for(3, WAIT_S))
        await log.append("acme", "workflow-1", events_pb2.WorkflowFinishRequested())
        await runner.wait_for(2, WAIT_S)
        assert not waiting.done()
        await log.append("acme", "workflow-1", events_pb2.WorkflowSucceeded())
        await waiting
        assert await tallied(runner) == [1, 2, 3]


async def test_a_waiting_read_is_not_held_up_while_commits_gather(opened):
    log = log_of(1)
    runner = await opened(tally(), log, gathering_s=3600)
    async with running(runner):
        await runner.wait_for(1, WAIT_S)
        await log.append("acme", "workflow-1", events_pb2.WorkflowSucceeded())
        await runner.wait_for(2, WAIT_S)


async def test_a_position_that_does_not_come_ends_the_wait(following):
    async with following(tally(), log_of(1)) as runner:
        with pytest.raises(ProjectionBehindError, match="is at 1, and not at 99"):
            await runner.wait_for(99, 0.001)


async def test_an_event_that_cannot_be_applied_stops_the_projection_before_it(opened, caplog):
    runner = await opened(tally(fails_at=4), log_of(5))
    with caplog.at_level(logging.ERROR):
        await runner.run()
    told = "it cannot apply event 4, step_canceled at 4 of workflow-1, tenant acme (ArithmeticError)"
    assert told in caplog.records[0].message
    assert told in runner.problem
    assert runner.state is RunnerState.FAILED
    assert await tallied(runner) == [1, 2, 3]
    assert runner.lag == 2


async def test_a_failed_projection_refuses_every_wait(opened):
    runner = await opened(tally(fails_at=2), log_of(2))
    async with asyncio.TaskGroup() as tasks:
        waiting = asyncio.gather(runner.wait_for(2, WAIT_S), return_exceptions=True)
        tasks.create_task(runner.run())
    assert isinstance((await waiting)[0], ProjectionFailedError)
    with pytest.raises(ProjectionFailedError, match="tally has failed at 1"):
        await runner.wait_for(0, WAIT_S)


async def test_a_failed_projection_goes_on_once_its_bug_is_mended(opened, following):
    log = log_of(5)
    runner = await opened(tally(fails_at=4), log)
    await runner.run()
    async with following(tally(), log) as mended:
        assert await tallied(mended) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("committed", [False, True], ids=["undone", "committed"])
async def test_a_database_that_is_unavailable_is_tried_until_it_is_there(opened, database, monkeypatch, committed):
    """Also when the write that seemed to fail had committed."""
    monkeypatch.setattr(generation, "RETRY_FIRST_S", 0.001)
    unreliable = Unreliable(database)
    runner = await opened(tally(), log_of(25, batch_events=10), on=unreliable)
    unreliable.fail_writes(3, committed=committed)
    async with running(runner), asyncio.timeout(WAIT_S):
        await unreliable.failed.wait()
        assert "the disk is full" in runner.problem
        assert runner.state is not RunnerState.FAILED
        await runner.wait_for(25, WAIT_S)
        assert runner.problem == ""
        assert await tallied(runner) == list(range(1, 26))


async def test_a_reader_is_told_that_the_database_is_unavailable(opened, database):
    unreliable = Unreliable(database)
    runner = await opened(tally(), log_of(0), on=unreliable)
    unreliable.fail_reads()
    with pytest.raises(DatabaseUnavailableError, match="the disk is full"):
        await tallied(runner)


async def test_a_stopped_runner_lets_go_of_those_who_wait(opened):
    runner = await opened(tally(), log_of(1))
    waiting = asyncio.gather(runner.wait_for(9, WAIT_S), return_exceptions=True)
    async with running(runner):
        await runner.wait_for(1, WAIT_S)
    assert isinstance((await waiting)[0], ProjectionFailedError)


async def test_a_log_that_closes_is_no_failure(opened, caplog):
    class Closing(MemoryLog):
        async def subscribe(self, after_position=0, tenant=None):
            yield SubscriptionBatch(self.events, self.head, caught_up=True)
            raise StoreClosedError("the store was closed")

    log = Closing()
    log.record("acme", "workflow-1", events_pb2.WorkflowCanceled())
    runner = await opened(tally(), log)
    await runner.run()
    assert (runner.state, runner.position) == (RunnerState.STOPPED, 1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_unknown_event_that_is_ignorable_does_not_stop_it(following):
    log = log_of(1)
    unknown_event(log, ignorable=True)
    async with following(tally(), log) as runner:
        assert runner.position == 2


async def test_an_unknown_event_that_is_not_ignorable_stops_it(opened, caplog):
    log = log_of(1)
    unknown_event(log, ignorable=False)
    runner = await opened(tally(), log)
    await runner.run()
    assert runner.position == 1
    assert "run a version at least as new as the one that wrote it" in caplog.text


async def test_a_projection_that_passed_over_an_event_is_rebuilt_by_a_version_that_knows_it(
    following, opened, monkeypatch
):
    log = log_of(1)
    unknown_event(log, ignorable=True)
    async with following(tally(), log):
        pass
    monkeypatch.setitem(checkpoints.TYPE_NAMES, UNKNOWN_TYPE, "step_dreamt")
    runner = await opened(tally(), log)
    assert runner.position == 0
