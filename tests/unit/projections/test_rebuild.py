"""A rebuild: beside what is read, resumable, and in its place at once; no read is stopped or sees less than before."""

import asyncio

import pytest
from sqlalchemy import inspect, select

from podium.v1 import events_pb2
from service.projections import rebuild as rebuilding
from service.projections.audit import AuditTrail
from service.projections.audit_query import AuditFilter, AuditQuery
from service.projections.generation import ProjectionFailedError
from service.projections.read_model import ReadModel, _Lent
from service.projections.rebuild import Progress, Rebuild, RebuildStoppedError
from service.projections.runner import ProjectionRunner, RunnerState
from tests.unit.projections.conftest import running
from tests.unit.projections.memory_log import LogClock, MemoryLog
from tests.unit.projections.samples import record_history
from tests.unit.projections.tally import Tally, tallied, tally
from tests.unit.projections.unreliable import Held

WAIT_S = 30
BATCH_EVENTS = 10


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(rebuilding, "BATCH_EVENTS", BATCH_EVENTS)


def log_of(events, batch_events=1000):
    log = MemoryLog(batch_events)
    log.record("acme", "workflow-1", *(events_pb2.StepCanceled(step_id=f"step_{n}") for n in range(events)))
    return log


def up_to(position):
    return list(range(1, position + 1))


async def rebuilt(runner, log):
    """Rebuild, and tell how it went. Raises RebuildStoppedError."""
    async with asyncio.timeout(WAIT_S):
        rebuild = Rebuild(runner, log, spawn=None)
        work = asyncio.create_task(rebuild.run())
        try:
            return [progress async for progress in rebuild.progress()]
        finally:
            await work


async def tables(runner):
    names = await runner.model.read(lambda connection, _tally: inspect(connection).get_table_names())
    return {name for name in names if name.startswith("tally")}


async def test_it_ends_in_new_tables_with_the_same_rows_and_drops_the_old(following):
    log = log_of(25)
    async with following(tally(), log) as runner:
        told = await rebuilt(runner, log)
        assert told[-1] == Progress(25, 25, is_done=True)
        assert [progress.is_done for progress in told[:-1]] == [False] * (len(told) - 1)
        assert await tallied(runner) == up_to(25)
        assert runner.model.served.number == 2
        assert await tables(runner) == {"tally_2"}


async def test_who_is_slow_to_read_the_progress_is_told_of_the_end(following):
    log = log_of(25)
    async with following(tally(), log) as runner, asyncio.timeout(WAIT_S):
        rebuild = Rebuild(runner, log, spawn=None)
        progress = rebuild.progress()
        assert await anext(progress) == Progress(0, 25, is_done=False)
        await rebuild.run()
        assert [told async for told in progress] == [Progress(25, 25, is_done=True)]


async def test_the_new_tables_are_followed_and_found_again(following):
    log = log_of(25)
    async with following(tally(), log) as runner:
        await rebuilt(runner, log)
        await log.append("acme", "workflow-1", events_pb2.WorkflowCanceled())
        await runner.wait_for(26, WAIT_S)
        assert await tallied(runner) == up_to(26)
    async with following(tally(), log) as runner:
        assert runner.model.served.number == 2
        assert await tallied(runner) == up_to(26)


async def read_while_rebuilding(runner, log):
    """Read again and again while events come and a rebuild runs; returns what each read saw."""
    seen, begun = [], asyncio.Event()

    async def read(work):
        while not work.done():
            seen.append(await tallied(runner))
            begun.set()

    async def record(work):
        while not work.done():
            await log.append("acme", "workflow-1", events_pb2.StepCanceled(step_id="more"))
            await runner.wait_for(log.head, WAIT_S)

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        rebuild = Rebuild(runner, log, spawn=None)
        ended = asyncio.get_running_loop().create_future()
        reading = tasks.create_task(read(ended))
        await begun.wait()
        work = tasks.create_task(rebuild.run())
        recording = tasks.create_task(record(work))
        await work
        await recording
        ended.set_result(None)
        await reading
    seen.append(await tallied(runner))
    return seen


def is_whole(seen):
    """Whether each read saw every event once up to some position, and none less than one before it."""
    lengths = [len(read) for read in seen]
    return lengths == sorted(lengths) and all(read == up_to(len(read)) for read in seen)


async def test_no_read_sees_less_than_the_one_before_while_events_come(following):
    log = log_of(205)
    async with following(tally(), log) as runner:
        seen = await read_while_rebuilding(runner, log)
        assert is_whole(seen)
        assert seen[-1] == up_to(log.head)
        assert log.head > 205
        assert runner.model.served.number == 2


class EarlyModel(ReadModel):
    """Serves new tables at once, as it must not be done."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.switched, self.was_read = asyncio.Event(), asyncio.Event()

    async def next_generation(self, log):
        generation = await super().next_generation(log)
        self._served = _Lent(generation, before=self._lent)
        self.switched.set()
        await self.was_read.wait()
        return generation


async def test_negative_control_reads_see_less_when_the_switch_comes_early(database):
    log = log_of(205)
    model = EarlyModel(tally(), database)
    runner = ProjectionRunner(model, log, LogClock(log))
    await runner.open()
    async with running(runner):
        await runner.wait_for(205, WAIT_S)
    seen = [await tallied(runner)]
    rebuild = Rebuild(runner, log, spawn=None)
    work = asyncio.create_task(rebuild.run())
    await model.switched.wait()
    seen.append(await tallied(runner))
    model.was_read.set()
    await work
    assert not is_whole(seen)


async def test_a_read_that_began_before_the_switch_still_finds_its_tables(opened, database):
    log = log_of(25)
    held = Held(database)
    runner = await opened(tally(), log, on=held)
    async with running(runner), asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        await runner.wait_for(25, WAIT_S)
        old = held.hold_next_read()
        reading = tasks.create_task(tallied(runner))
        await old.began.wait()
        rebuild = Rebuild(runner, log, spawn=None)
        tasks.create_task(rebuild.run())
        assert [progress async for progress in rebuild.progress()][-1].is_done
        # Others read the new tables meanwhile, and the rebuild has not ended: it waits for the last reader of the old.
        assert await tables(runner) == {"tally_1", "tally_2"}
        assert not rebuild.has_ended
        old.go_on.set()
        assert await reading == up_to(25)
    assert rebuild.has_ended
    assert await tables(runner) == {"tally_2"}


async def test_negative_control_a_drop_that_waits_for_nobody_takes_the_tables_from_a_reader(
    opened, database, monkeypatch
):
    async def at_once(_lent):
        return

    monkeypatch.setattr(_Lent, "unread", at_once)
    log, held = log_of(25), Held(database)
    runner = await opened(tally(), log, on=held)
    async with running(runner), asyncio.timeout(WAIT_S):
        await runner.wait_for(25, WAIT_S)
        old = held.hold_next_read()
        reading = asyncio.gather(tallied(runner), return_exceptions=True)
        await old.began.wait()
        await rebuilt(runner, log)
        old.go_on.set()
        [outcome] = await reading
    assert isinstance(outcome, Exception)
    assert "tally_1" in str(outcome)


class Interrupted(Exception):
    pass


class InterruptedLog:
    """A log that stops being readable after some reads."""

    def __init__(self, log, reads):
        self._log, self._reads = log, reads

    @property
    def head(self):
        return self._log.head

    async def read_all(self, after_position=0, limit=1000, tenant=None):
        if limit == BATCH_EVENTS:
            if not self._reads:
                raise Interrupted
            self._reads -= 1
        return await self._log.read_all(after_position, limit, tenant)


@pytest.mark.parametrize("batches", range(3))
async def test_a_rebuild_that_was_interrupted_goes_on_where_it_was(following, opened, batches):
    log = log_of(25)
    async with following(tally(), log) as runner:
        with pytest.raises(RebuildStoppedError, match="Interrupted"):
            await rebuilt(runner, InterruptedLog(log, batches))
    log.record("acme", "workflow-1", events_pb2.WorkflowCanceled())
    async with following(tally(), log) as runner:
        # What is read is not what was being built.
        assert runner.model.served.number == 1
        assert await tallied(runner) == up_to(26)
        told = await rebuilt(runner, log)
        assert min(p.position for p in told if p.position) >= min(25, BATCH_EVENTS * batches)
        assert await tallied(runner) == up_to(26)
        assert runner.model.served.number == 2
        assert await tables(runner) == {"tally_2"}


async def test_an_interrupted_rebuild_is_dropped_when_the_schema_version_has_changed(following):
    log = log_of(25)
    async with following(tally(schema_version=1), log) as runner:
        with pytest.raises(RebuildStoppedError):
            await rebuilt(runner, InterruptedLog(log, 2))
    async with following(tally(schema_version=2), log) as runner:
        assert await tables(runner) == {"tally_3"}
        await rebuilt(runner, log)
        assert await tallied(runner) == up_to(25)
        assert await tables(runner) == {"tally_4"}


async def test_an_interrupted_rebuild_is_dropped_when_the_log_is_another_one(following):
    log = log_of(25)
    async with following(tally(), log_of(5)):
        pass
    async with following(tally(), log) as runner:
        with pytest.raises(RebuildStoppedError):
            await rebuilt(runner, InterruptedLog(log, 2))
    other = log_of(5)
    other.record("acme", "workflow-2", *(events_pb2.WorkflowCanceled() for _ in range(20)))
    async with following(tally(), other) as runner:
        await rebuilt(runner, other)
        assert await tallied(runner) == up_to(25)


async def test_a_rebuild_that_cannot_apply_an_event_leaves_what_is_read_as_it_is(opened):
    class FailsBeside(Tally):
        """Fails in every generation but the first."""

        def __init__(self, generation):
            super().__init__(generation, fails_at=15 if generation > 1 else None)

    log = log_of(25)
    runner = await opened(FailsBeside, log)
    async with running(runner):
        with pytest.raises(RebuildStoppedError, match=r"stopped at 14.*cannot apply event 15"):
            await rebuilt(runner, log)
        await log.append("acme", "workflow-1", events_pb2.WorkflowCanceled())
        await runner.wait_for(26, WAIT_S)
        assert (runner.state, runner.problem) == (RunnerState.LIVE, "")
        assert await tallied(runner) == up_to(26)


async def test_a_failed_projection_lives_again_from_its_new_tables(opened, database):
    """Its rows were damaged, and so it stopped."""

    class OncePerPosition(Tally):
        def apply(self, connection, events):
            if connection.scalars(select(self.table).where(self.table.c.position == events[-1].position)).all():
                raise ArithmeticError
            super().apply(connection, events)

    log = log_of(25, batch_events=10)
    runner = await opened(OncePerPosition, log)
    await database.write(lambda connection: connection.exec_driver_sql("INSERT INTO tally_1 VALUES (25)").close())
    await runner.run()
    assert runner.state is RunnerState.FAILED
    with pytest.raises(ProjectionFailedError):
        await runner.wait_for(25, WAIT_S)
    running_again = []
    rebuild = Rebuild(runner, log, lambda work: running_again.append(asyncio.get_running_loop().create_task(work)))
    await rebuild.run()
    [task] = running_again
    await log.append("acme", "workflow-1", events_pb2.WorkflowCanceled())
    async with asyncio.timeout(WAIT_S):
        while runner.state is not RunnerState.LIVE:
            await tallied(runner)
    await runner.wait_for(26, WAIT_S)
    assert await tallied(runner) == up_to(26)
    assert runner.problem == ""
    task.cancel()
    await asyncio.wait([task])


async def test_what_the_rebuild_has_already_is_not_applied_again_by_the_live_projection(opened):
    """The rebuild reads ahead of a live projection that lets commits gather."""
    log = log_of(25)
    runner = await opened(tally(), log, gathering_s=3600)
    async with running(runner):
        await runner.wait_for(25, WAIT_S)
        await log.append("acme", "workflow-1", *(events_pb2.StepCanceled() for _ in range(5)))
        assert runner.position == 25
        await rebuilt(runner, log)
        assert runner.position == 30
        await log.append("acme", "workflow-1", *(events_pb2.StepCanceled() for _ in range(5)))
        await runner.wait_for(35, WAIT_S)
        assert await tallied(runner) == up_to(35)


async def test_a_rebuild_does_not_fall_behind_what_was_read(opened):
    """The live projection moves on after the rebuild has read the end of the log."""

    class Growing(MemoryLog):
        grow = False

        async def read_all(self, after_position=0, limit=1000, tenant=None):
            found = await super().read_all(after_position, limit, tenant)
            if self.grow and limit == BATCH_EVENTS and len(found) < limit:
                self.grow = False
                await self.append("acme", "workflow-1", *(events_pb2.StepCanceled() for _ in range(23)))
                await runner.wait_for(self.head, WAIT_S)
            return found

    log = Growing()
    log.record("acme", "workflow-1", *(events_pb2.StepCanceled() for _ in range(25)))
    runner = await opened(tally(), log)
    async with running(runner):
        await runner.wait_for(25, WAIT_S)
        log.grow = True
        assert (await rebuilt(runner, log))[-1] == Progress(48, 48, is_done=True)
        assert await tallied(runner) == up_to(48)


async def test_the_trail_is_the_same_before_and_after(following):
    log = MemoryLog()
    record_history(log)
    async with following(AuditTrail, log) as runner:
        query = AuditQuery(runner.model, log)
        before = b"".join([block async for block in query.export("acme", AuditFilter())])
        await rebuilt(runner, log)
        assert b"".join([block async for block in query.export("acme", AuditFilter())]) == before
        assert before
