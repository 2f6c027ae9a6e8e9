"""Fetching keys over HTTP, from an endpoint that misbehaves: bounded in time and size, and nowhere else."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.admission.key_endpoint import ANSWER_BYTES_MAX, EndpointError, KeyEndpoint
from tests.integration.rig.key_server import key_server


@pytest.fixture
async def server():
    async with key_server() as served:
        yield served


async def test_what_is_published_is_fetched(server):
    server.keys = [{"kid": "one"}]
    assert await KeyEndpoint(server.url).fetch() == b'{"keys": [{"kid": "one"}]}'


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("huge", f"larger than {ANSWER_BYTES_MAX} bytes"),
        ("slow", "did not answer within 0.5 s"),
        ("silent", "did not answer within 0.5 s"),
        ("failing", "status 503"),
        ("elsewhere", "status 302"),
    ],
)
async def test_an_endpoint_that_misbehaves_is_given_up(server, broken, words):
    server.broken = getattr(server, broken)
    with pytest.raises(EndpointError, match=words):
        await KeyEndpoint(server.url, within_s=0.5 if broken in ("slow", "silent") else 10).fetch()
    assert server.asked == 1


async def test_nobody_listens(server):
    async with key_server() as gone:
        url = gone.url
    with pytest.raises(EndpointError, match="ConnectionRefusedError"):
        await KeyEndpoint(url).fetch()


async def test_a_thread_that_waits_for_an_answer_is_let_go(server):
    """The executor's thread is free again: with a pool of one the next fetch would wait for it."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, "asyncio"))
    server.broken = server.slow
    with pytest.raises(EndpointError):
        await KeyEndpoint(server.url, within_s=0.2).fetch()
    server.broken = None
    assert await KeyEndpoint(server.url, within_s=3).fetch() == b'{"keys": []}'


async def test_no_proxy_is_asked(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await KeyEndpoint(server.url).fetch() == b'{"keys": []}'
