"""Databases that go away for real while a projection follows the log: it waits, says so, and goes on without a gap."""

import asyncio
import sqlite3

import asyncpg
import pytest

from podium.v1 import events_pb2
from service.projections import generation, sqlite_database
from service.projections.database import DatabaseUnavailableError
from service.projections.rebuild import Rebuild
from service.projections.runner import RunnerState
from store.contract import StoreError
from tests.unit.projections.conftest import running
from tests.unit.projections.memory_log import MemoryLog
from tests.unit.projections.tally import tallied, tally

WAIT_S = 30
on_postgres = pytest.mark.parametrize("place", ["postgres"], indirect=True)
on_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


@pytest.fixture
def log():
    log = MemoryLog()
    log.record("acme", "workflow-1", *(events_pb2.StepCanceled() for _ in range(25)))
    return log


async def cut_connections(url):
    """End every connection of the projections, as an operator or a failover does."""
    connection = await asyncpg.connect(url)
    count = await connection.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = 'podium projections' AND datname = current_database()"
    )
    await connection.close()
    return count


@on_postgres
async def test_connections_that_are_cut_are_opened_again(following, log, place, monkeypatch):
    monkeypatch.setattr(generation, "RETRY_FIRST_S", 0.001)
    async with following(tally(), log) as runner:
        for _ in range(5):
            assert await cut_connections(place)
            await log.append("acme", "workflow-1", events_pb2.StepCanceled())
            await runner.wait_for(log.head, WAIT_S)
        assert await rows(runner) == list(range(1, 31))


@on_postgres
async def test_a_rebuild_goes_on_over_connections_that_are_cut(following, log, place, monkeypatch):
    monkeypatch.setattr(generation, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr("service.projections.rebuild.BATCH_EVENTS", 5)
    async with following(tally(), log) as runner:
        rebuild = Rebuild(runner, log, spawn=None)
        work = asyncio.create_task(rebuild.run())
        async for progress in rebuild.progress():
            if not progress.is_done:
                await cut_connections(place)
        await work
        assert runner.model.served.number == 2
        assert await rows(runner) == list(range(1, 26))


async def rows(runner):
    """What is in the table; a read is told of a cut connection, and repeated by whoever asked."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await tallied(runner)
            except DatabaseUnavailableError:
                continue


async def test_a_log_that_cannot_be_read_for_a_while_is_followed_on(following, opened, monkeypatch):
    class Failing(MemoryLog):
        failures = 3
        failed = asyncio.Event()

        async def subscribe(self, after_position=0, tenant=None):
            async for batch in super().subscribe(after_position, tenant):
                if batch.position > 10 and self.failures:
                    self.failures -= 1
                    self.failed.set()
                    raise StoreError("cannot read the log: connection reset")
                yield batch

    monkeypatch.setattr("service.projections.runner.RETRY_FIRST_S", 0.001)
    log = Failing(batch_events=10)
    log.record("acme", "workflow-1", *(events_pb2.StepCanceled() for _ in range(25)))
    runner = await opened(tally(), log)
    async with running(runner), asyncio.timeout(WAIT_S):
        await log.failed.wait()
        assert "connection reset" in runner.problem
        assert runner.state is not RunnerState.FAILED
        await runner.wait_for(25, WAIT_S)
        assert runner.problem == ""
        assert await tallied(runner) == list(range(1, 26))


@on_sqlite
async def test_a_file_that_somebody_locks_is_waited_for(following, log, place, monkeypatch):
    monkeypatch.setattr(generation, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(sqlite_database, "BUSY_TIMEOUT_MS", 1)
    async with following(tally(), log) as runner:
        other = sqlite3.connect(place, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await log.append("acme", "workflow-1", events_pb2.StepCanceled())
        async with asyncio.timeout(WAIT_S):
            while not runner.problem:
                assert len(await tallied(runner)) == 25
        assert "database is locked" in runner.problem
        assert (runner.state, runner.lag) == (RunnerState.LIVE, 1)
        other.execute("ROLLBACK")
        other.close()
        await runner.wait_for(26, WAIT_S)
        assert runner.problem == ""
        assert await tallied(runner) == list(range(1, 27))
