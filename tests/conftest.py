"""What the tests of several folders share."""

import pytest

from tests.postgres import postgres_for_tests


@pytest.fixture(scope="session")
def postgres():
    """A Postgres server, for as long as this process tests; see tests/postgres.py."""
    with postgres_for_tests() as server:
        yield server


@pytest.fixture
async def postgres_url(postgres):
    """A database with the log's tables and nothing in them."""
    url = await postgres.create_database()
    yield url
    await postgres.drop_database(url)
