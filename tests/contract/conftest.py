"""The stores that keep the contract. A backend that joins this list inherits the whole suite."""

import shutil

import pytest

from store.migrate import migrate
from store.postgres import postgres_log
from store.sqlite import sqlite_log
from tests.contract.events import FakeClock
from tests.contract.model import ModelDatabase, ModelStore


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "log.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["sqlite", "postgres", "model"])
async def make_store(request, clock, tmp_path):
    """Makes stores, not yet open, over one and the same database."""
    if request.param == "model":
        database = ModelDatabase()
        yield lambda: ModelStore(database, clock)
    elif request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("empty_database"), tmp_path / "log.db")
        yield lambda: sqlite_log(path, clock=clock)
    else:
        server = request.getfixturevalue("postgres")
        url = await server.create_database()
        yield lambda: postgres_log(url, clock=clock, reader_connections=2)
        await server.drop_database(url)


@pytest.fixture
async def store(make_store):
    store = make_store()
    await store.open()
    yield store
    await store.close()
