"""What the projections' tests share: real databases of both kinds, and a runner that follows a log in memory."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.projections.postgres_database import PostgresProjections
from service.projections.read_model import ReadModel
from service.projections.runner import ProjectionRunner
from service.projections.sqlite_database import SqliteProjections
from tests.unit.projections.memory_log import LogClock, next_epoch

WAIT_S = 30


@pytest.fixture
def path(tmp_path):
    return tmp_path / "podium.db.projections"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request):
    """Where the projections are: the name of a database of each kind."""
    return str(request.getfixturevalue("path" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
async def open_database(place):
    """Opens the database at the place, as one more process would."""
    opened = []

    async def make():
        opened.append(database_at(place))
        await opened[-1].open(next_epoch())
        return opened[-1]

    yield make
    for database in opened:
        await database.close()


@pytest.fixture
def opened_database(open_database):
    """The database of this process, opened when it is first asked for."""
    opened = []

    async def once():
        if not opened:
            opened.append(await open_database())
        return opened[0]

    return once


@pytest.fixture
async def database(opened_database):
    return await opened_database()


@pytest.fixture
async def sqlite(path):
    database = SqliteProjections(path)
    await database.open(next_epoch())
    yield database
    await database.close()


def database_at(place):
    return PostgresProjections(place) if place.startswith("postgresql:") else SqliteProjections(Path(place))


@pytest.fixture
def opened(opened_database):
    """Makes a runner over a log, opened but not running."""

    async def make(make_projection, log, *, on=None, clock=None, gathering_s=0):
        model = ReadModel(make_projection, on or await opened_database())
        runner = ProjectionRunner(model, log, clock or LogClock(log), gathering_s=gathering_s)
        await runner.open()
        return runner

    return make


@asynccontextmanager
async def running(runner):
    """Runs a runner for as long as the context is entered."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(runner.run())
        try:
            yield
        finally:
            task.cancel()


@pytest.fixture
def following(opened):
    """Runs a projection over a log, and waits at the start until it has all that is there."""

    @asynccontextmanager
    async def follow(make_projection, log, **settings):
        runner = await opened(make_projection, log, **settings)
        async with running(runner):
            await runner.wait_for(log.head, WAIT_S)
            yield runner

    return follow
