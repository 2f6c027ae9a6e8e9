"""`http_request` and a name whose answers change: a connection is made to what was checked, or not at all."""

import asyncio

import pytest

import podium
from podium.sanitizers.pinned_client import PinnedClient
from podium.sanitizers.url import UrlSanitizer
from service.tools.http_request import add_http_request, options_of
from service.tools.settings import Http


@pytest.fixture
async def port():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_name_that_changes_its_address_is_asked_at_each_connection_and_not_followed(port):
    settings = Http(schemes=("http",), hosts=("shop.example.org",), ports=(port,), networks=("127.0.0.1/32",))
    answers = [["127.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["169.254.169.254"], ["127.0.0.1"]]
    asked = []

    async def resolver(host, _port):
        asked.append(host)
        return answers[len(asked) - 1]

    app = podium.Executor("test")
    async with PinnedClient(UrlSanitizer(options_of(settings)), resolver=resolver) as client:
        add_http_request(app, client, settings)
        request = app.tools["http_request"].function
        url = f"http://shop.example.org:{port}/"
        assert (await request(url=url))["body"] == "ok"
        for _ in range(2):
            with pytest.raises(podium.ToolFailed) as refused:
                await request(url=url)
            assert refused.value.reason == "INPUT_REJECTED"
            assert "ADDRESS_NOT_PUBLIC" in refused.value.message
        assert (await request(url=url))["body"] == "ok"
    assert asked == ["shop.example.org"] * 4


def test_a_tool_is_read_only_exactly_when_its_methods_are():
    for methods, read_only, idempotent in (
        (("GET", "HEAD"), True, True),
        (("GET", "PUT"), False, True),
        (("GET", "POST"), False, False),
    ):
        app = podium.Executor("test")
        settings = Http(methods=methods)
        add_http_request(app, PinnedClient(UrlSanitizer({})), settings)
        definition = app.tools["http_request"].definition
        assert (definition.read_only, definition.idempotent) == (read_only, idempotent)
