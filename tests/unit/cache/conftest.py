"""A server for results beside memory."""

import contextlib

import pytest

from tests.unit.cache.remote import RemoteCalls
from tests.valkey import ValkeyServer, valkey_for_tests


@pytest.fixture(scope="session")
def valkey():
    """A server, for as long as this process tests."""
    with valkey_for_tests() as server:
        yield server


@pytest.fixture
def own_valkey():
    """A server for this test alone, to stop or to kill."""
    server = ValkeyServer()
    yield server
    server.kill()


@pytest.fixture
async def remote(valkey):
    """Makes services on one server, which is emptied before: `remote(bounds=...)`."""
    async with contextlib.AsyncExitStack() as stack:

        def make(**settings):
            calls = RemoteCalls(settings.pop("url", valkey.url), **settings)
            stack.push_async_callback(calls.close)
            return calls

        await make().remote._cache.client.flushall()  # noqa: SLF001 - the test empties the server
        yield make
