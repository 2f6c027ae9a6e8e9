"""The stores that keep the contract. A backend that joins this list inherits the whole suite."""

import shutil

import pytest

from store.migrate import migrate
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


@pytest.fixture(params=["sqlite", "model"])
def make_store(request, clock, tmp_path, empty_database):
    """Makes stores, not yet open, over one and the same database."""
    if request.param == "model":
        database = ModelDatabase()
        return lambda: ModelStore(database, clock)
    path = shutil.copy(empty_database, tmp_path / "log.db")
    return lambda: sqlite_log(path, clock=clock)


@pytest.fixture
async def store(make_store):
    store = make_store()
    await store.open()
    yield store
    await store.close()
