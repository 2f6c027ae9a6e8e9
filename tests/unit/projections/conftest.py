"""What the projections' tests share: a real database file, and a runner that follows a log in memory."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from service.projections.database import ProjectionsDatabase
from service.projections.runner import ProjectionRunner

WAIT_S = 30


@pytest.fixture
def path(tmp_path):
    return tmp_path / "podium.db.projections"


@pytest.fixture
async def database(path):
    database = ProjectionsDatabase(path)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def following(database):
    """Runs a projection over a log, and waits at the start until it has all that is there."""

    @asynccontextmanager
    async def follow(projection, log):
        runner = ProjectionRunner(projection, database, log, gathering_s=0)
        await runner.open()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(runner.run())
            try:
                await runner.wait_for(log.head, WAIT_S)
                yield runner
            finally:
                task.cancel()

    return follow
