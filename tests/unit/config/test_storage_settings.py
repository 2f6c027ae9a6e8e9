"""What is taken for the address of a database, what for a path, and what is refused since it may be meant as either."""

import pytest

from service.config import ConfigurationError, load_settings
from service.settings.storage import Storage
from store.sqlite_engine import path_of

PATHS = [
    "podium.db",
    "data/podium.db",
    "data/a:b.db",
    ".podium/podium.db",
    "~/podium.db",
    "sqlite",
    "./my log.db",
    "../a@b.db",
    "./a=b:c.db",
    "/srv/a@b.db",
    "/srv/my log.db",
    "/srv/host=db user=podium",
    "/podium.db",
]
"""Plain ones, and those that say that they are paths."""
ADDRESSES = [
    "sqlite:///podium.db",
    "sqlite:////srv/my log.db",
    "sqlite:///a@b=c%3F.db",
    "postgresql://podium@db/podium",
    "postgresql://podium:hunter2@db:5432/podium?sslmode=require",
    "postgresql+asyncpg://db/podium",
    "postgresql:///podium",
]
NEITHER = [
    "host=db user=podium password=hunter2",
    "host=hunter2",
    "dbname=podium\tpassword=hunter2",
    "//bob:hunter2@db/podium",
    "//hunter2/podium",
    "bob@hunter2/db",
    "bob:hunter2@db/podium",
    "bob/hunter2@db/podium",
    "db/podium?password=hunter2",
    "db/podium hunter2",
    "db:5432/hunter2",
    " /srv/hunter2.db",
    "hunter2.db ",
    "/srv/podium.db?key=hunter2",
    "./podium.db?key=hunter2",
    "sqlite:hunter2.db",
    "sqlite+x hunter2",
    "service hunter2",
]
OTHERS = [
    "postgres://bob:hunter2@db/podium",
    "postgresql:host=db password=hunter2",
    "postgresql host=db password=hunter2",
    "Postgresql://bob:hunter2@db/podium",
    " postgresql://bob:hunter2@db/podium",
    "mysql://bob:hunter2@db/podium",
    "sqlite://bob:hunter2@db/podium",
    "sqlite://hunter2.db",
    "jdbc:postgresql://db/podium?password=hunter2",
]
"""Addresses, but none of a database that there is."""


def refused(database):
    with pytest.raises(ConfigurationError) as told:
        load_settings({"PODIUM_DATABASE_URL": database})
    [problem] = told.value.problems
    return problem


@pytest.mark.parametrize("path", PATHS)
def test_what_can_only_be_a_path_is_the_file_that_it_names(path):
    url = load_settings({"PODIUM_DATABASE_URL": path}).storage.database_url
    assert url == f"sqlite:///{path}"
    assert str(path_of(url)) == path.removeprefix("./")


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_left_as_it_is(address):
    """Negative control: what is refused below is not refused because it is an address."""
    assert load_settings({"PODIUM_DATABASE_URL": address}).storage.database_url == address


@pytest.mark.parametrize("database", NEITHER)
def test_what_may_be_meant_as_an_address_is_no_path_and_is_not_repeated(database):
    problem = refused(database)
    assert problem.startswith("PODIUM_DATABASE_URL is neither an address")
    assert "postgresql://USER@HOST/NAME" in problem
    assert "written ./ and the path" in problem
    assert "hunter2" not in problem
    assert "hunter2" not in repr(Storage().at(database))


@pytest.mark.parametrize("address", OTHERS)
def test_an_address_of_another_kind_is_told_how_one_is_written(address):
    problem = refused(address)
    assert problem.startswith("PODIUM_DATABASE_URL begins with neither sqlite:/// nor postgresql://")
    assert "postgresql://USER@HOST/NAME" in problem
    assert "hunter2" not in problem
    assert "./" not in problem
