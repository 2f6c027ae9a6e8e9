"""Two writers of one projection: the one that was taken over is refused, and no event is applied twice or skipped."""

import asyncio

import pytest
from sqlalchemy import select

from podium.v1 import events_pb2
from service.projections import checkpoints, postgres_database, read_model
from service.projections.database import DatabaseFencedError, DatabaseUnavailableError
from service.projections.generation import Generation
from service.projections.postgres_database import PostgresProjections
from service.projections.rebuild import Rebuild, RebuildStoppedError
from service.projections.runner import RunnerState
from store.contract import SubscriptionBatch
from tests.unit.projections.conftest import running
from tests.unit.projections.memory_log import MemoryLog, next_epoch
from tests.unit.projections.tally import tallied, tally

WAIT_S = 30
on_postgres = pytest.mark.parametrize("place", ["postgres"], indirect=True)


def log_of(events):
    log = MemoryLog(batch_events=10)
    log.record("acme", "workflow-1", *(events_pb2.StepCanceled() for _ in range(events)))
    return log


async def both_run(log, old, new):
    """Two runners of one projection, of which the second was opened later, follow the log as it grows."""
    async with running(old), running(new), asyncio.timeout(WAIT_S):
        for _ in range(3):
            await log.append("acme", "workflow-1", events_pb2.StepCanceled())
            await asyncio.gather(old.wait_for(log.head, WAIT_S), new.wait_for(log.head, WAIT_S), return_exceptions=True)


@on_postgres
async def test_a_process_that_was_taken_over_writes_no_more(opened, open_database):
    log = log_of(25)
    old = await opened(tally(), log, on=await open_database())
    async with running(old):
        await old.wait_for(25, WAIT_S)
    new = await opened(tally(), log, on=await open_database())
    await both_run(log, old, new)
    assert old.state is RunnerState.FAILED
    assert "another process has taken over" in old.problem
    assert (new.state, new.problem) == (RunnerState.STOPPED, "")
    assert await tallied(new) == list(range(1, 29))


class UnfencedProjections(PostgresProjections):
    async def write(self, work):
        async with self._writer.begin() as connection:
            return await connection.run_sync(work)


@on_postgres
async def test_negative_control_without_the_fence_a_process_that_was_taken_over_writes_on(opened, open_database, place):
    log = log_of(25)
    unfenced = UnfencedProjections(place)
    await unfenced.open(next_epoch())
    old = await opened(tally(), log, on=unfenced)
    async with running(old):
        await old.wait_for(25, WAIT_S)
        new = await opened(tally(), log, on=await open_database())
        await log.append("acme", "workflow-1", events_pb2.StepCanceled())
        await old.wait_for(26, WAIT_S)
    assert new.position == 25
    assert await tallied(new) == list(range(1, 27))
    await unfenced.close()


@on_postgres
async def test_a_rebuild_of_a_process_that_was_taken_over_changes_nothing(opened, open_database):
    log = log_of(25)
    old = await opened(tally(), log, on=await open_database())
    async with running(old):
        await old.wait_for(25, WAIT_S)
    new = await opened(tally(), log, on=await open_database())
    rebuild = Rebuild(old, log, spawn=None)
    await rebuild.run()
    with pytest.raises(RebuildStoppedError, match="another process has taken over"):
        await anext(rebuild.progress())
    assert await tallied(new) == list(range(1, 26))


@on_postgres
async def test_who_takes_over_waits_for_the_write_that_is_under_way(open_database, place):
    old = await open_database()
    successor = PostgresProjections(place)
    opening = []

    def write(connection):
        from sqlalchemy.util import await_only  # noqa: PLC0415 - exists for asynchronous drivers alone

        connection.exec_driver_sql("CREATE TABLE written (x INTEGER)")
        opening.append(asyncio.get_running_loop().create_task(successor.open(next_epoch())))
        # It has not opened: this write holds the fence.
        done, _ = await_only(asyncio.wait(opening, timeout=0.2))
        assert not done

    await old.write(write)
    await opening[0]
    with pytest.raises(DatabaseFencedError):
        await old.write(lambda connection: connection.exec_driver_sql("DROP TABLE written"))
    await successor.close()


@on_postgres
async def test_a_process_that_stands_still_in_a_write_does_not_hold_up_its_successor(open_database, place, monkeypatch):
    settings = [s.replace("session_timeout = 3000", "session_timeout = 100") for s in postgres_database.SETTINGS]
    monkeypatch.setattr(postgres_database, "SETTINGS", settings)
    old, successor = await open_database(), PostgresProjections(place)

    def stand_still(connection):
        from sqlalchemy.util import await_only  # noqa: PLC0415 - exists for asynchronous drivers alone

        await_only(successor.open(next_epoch()))
        connection.exec_driver_sql("SELECT 1").close()

    with pytest.raises(DatabaseUnavailableError):
        await old.write(stand_still)
    with pytest.raises(DatabaseFencedError):
        await old.write(lambda connection: connection.exec_driver_sql("SELECT 1").close())
    await successor.close()


async def two_on_one_database(opened, log):
    """Two runners over one open database, where nothing fences them."""
    first = await opened(tally(), log)
    async with running(first):
        await first.wait_for(25, WAIT_S)
    second = await opened(tally(), log)
    await both_run(log, first, second)
    return first, second


async def test_of_two_writers_of_one_checkpoint_one_fails_and_nothing_is_applied_twice(opened):
    log = log_of(25)
    both = await two_on_one_database(opened, log)
    assert sorted(runner.state for runner in both) == [RunnerState.FAILED, RunnerState.STOPPED]
    assert any("another writer is at work" in runner.problem for runner in both)
    assert await tallied(both[0]) == list(range(1, 29))


async def test_negative_control_a_checkpoint_that_is_moved_unseen_applies_events_twice(opened, monkeypatch):
    def move_unseen(connection, projection, generation, before, after):
        table = checkpoints.CHECKPOINTS
        connection.execute(
            table.update()
            .where(table.c.generation == generation)
            .values(position=after.position, record_digest=after.record_digest)
        )

    monkeypatch.setattr(checkpoints, "move", move_unseen)
    log = log_of(25)
    both = await two_on_one_database(opened, log)
    assert await tallied(both[0]) == [*range(1, 26), 26, 26, 27, 27, 28, 28]


async def test_the_checkpoint_is_never_ahead_of_the_rows_nor_behind_them(opened):
    """Whoever looks sees both of one moment, at every commit of a run."""
    log = log_of(0)
    runner = await opened(tally(), log)

    def look(connection, made):
        rows = connection.scalars(select(made.table.c.position)).all()
        return checkpoints.served_position(connection, "tally"), max(rows, default=0), len(rows)

    async with running(runner), asyncio.timeout(WAIT_S):
        for number in range(1, 30):
            await log.append("acme", "workflow-1", events_pb2.StepCanceled())
            position, last, count = await runner.model.read(look)
            assert position == last == count
            await runner.wait_for(number, WAIT_S)


class SequenceLog(MemoryLog):
    """A log whose positions were taken from a sequence: the second is committed after the third."""

    def __init__(self):
        super().__init__()
        self.record("acme", "workflow-1", *(events_pb2.StepCanceled() for _ in range(3)))

    async def subscribe(self, after_position=0, tenant=None):
        yield SubscriptionBatch([self.events[0], self.events[2]], 3, caught_up=True)
        yield SubscriptionBatch([self.events[1]], 3, caught_up=True)


async def test_a_position_that_commits_out_of_order_is_not_passed_over_in_silence(opened):
    runner = await opened(tally(), SequenceLog())
    await runner.run()
    assert runner.state is RunnerState.FAILED
    assert "CorruptLogError" in runner.problem
    assert await tallied(runner) == []


async def test_negative_control_without_the_check_of_the_order_an_event_is_skipped(opened, monkeypatch):
    class UncheckedGeneration(Generation):
        async def apply(self, events):
            await self._commit(events)

    monkeypatch.setattr(read_model, "Generation", UncheckedGeneration)
    runner = await opened(tally(), SequenceLog())
    await runner.run()
    assert await tallied(runner) == [1, 3]


@on_postgres
async def test_of_two_that_start_together_the_one_that_owns_the_log_has_the_projections_too(place):
    """Who took the log first and comes to the projections last is refused, and changes nothing for the other."""
    loser_epoch, owner_epoch = next_epoch(), next_epoch()
    owner, loser = PostgresProjections(place), PostgresProjections(place)
    await owner.open(owner_epoch)
    with pytest.raises(DatabaseFencedError):
        await loser.open(loser_epoch)
    await owner.write(lambda connection: connection.exec_driver_sql("SELECT 1").close())
    await owner.close()
    await loser.close()
