"""A log in a SQLite file, and the store on it."""

import shutil

import pytest

from store.migrate import migrate
from store.sqlite import sqlite_log
from tests.contract.events import FakeClock


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "log.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def database(empty_database, tmp_path):
    return shutil.copy(empty_database, tmp_path / "log.db")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def log(database, clock):
    log = sqlite_log(database, clock=clock)
    await log.open()
    yield log
    await log.close()
