"""Requests through the service: to servers that are allowed, wherever a redirect leads or a header points."""

import asyncio
import contextlib

import pytest

import podium


class Server:
    """A server that answers by path, and remembers what it was asked."""

    def __init__(self):
        self.requests = []
        self.connections = 0
        self.answers = {}
        self.writers = []

    async def __call__(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = lines[0].split()
                self.requests.append((method, path, headers, body))
                writer.write(self.answers[path])
                await writer.drain()


def answer(body=b"", status="200 OK", **headers):
    named = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
async def server():
    """Listens on two addresses of this machine, of which one is allowed."""
    handler = Server()
    listening = await asyncio.start_server(handler, "127.0.0.1", 0)
    handler.port = listening.sockets[0].getsockname()[1]
    handler.url = f"http://127.0.0.1:{handler.port}"
    forbidden = await asyncio.start_server(handler, "127.0.0.2", handler.port)
    yield handler
    for each in (listening, forbidden, *handler.writers):
        each.close()


@pytest.fixture
def http(ground, serve, server):
    def start(**more):
        allowed = {"schemes": ["http"], "ports": [server.port], "networks": ["127.0.0.1/32"]}
        return serve(ground.file(tools=["http_request"], http={**allowed, **more}), HTTP_PROXY="http://127.0.0.1:1")

    return start


async def test_an_answer_comes_back_over_kept_connections(http, client, server):
    http()
    server.answers["/a"] = answer(b"hello", content_type="text/plain", set_cookie="session=canary")
    server.answers["/b"] = answer(b"\xff\x00", status="404 Not Found")
    first = await client.call("http_request", url=f"{server.url}/a", headers={"accept": "text/plain"})
    assert (first["status"], first["body"], first["encoding"]) == (200, "hello", "utf-8")
    assert first["headers"] == {"content-length": "5", "content-type": "text/plain"}
    second = await client.call("http_request", url=f"{server.url}/b")
    assert (second["status"], second["body"], second["encoding"]) == (404, "/wA=", "base64")
    assert server.connections == 1
    assert server.requests[0][2]["accept"] == "text/plain"


async def test_a_redirect_to_an_address_that_is_not_allowed_is_refused(http, client, server):
    http()
    inside = f"http://127.0.0.2:{server.port}/inside"
    server.answers |= {
        "/away": answer(status="302 Found", location=inside),
        "/inside": answer(b"metadata"),
        "/near": answer(status="302 Found", location="/a"),
        "/a": answer(b"here"),
    }
    with pytest.raises(podium.ToolFailed) as refused:
        await client.call("http_request", url=f"{server.url}/away")
    assert refused.value.reason == "INPUT_REJECTED"
    assert [path for _, path, *_ in server.requests] == ["/away"]
    near = await client.call("http_request", url=f"{server.url}/near")
    assert (near["body"], near["url"]) == ("here", f"{server.url}/a")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.2]:{port}/",
        "http://localhost:{port}/",
        "http://127.0.0.1:22/",
        "file:///etc/passwd",
        "http://user@127.0.0.1:{port}/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
async def test_what_is_not_allowed_is_not_asked(http, client, server, url):
    http()
    with pytest.raises(podium.PodiumError) as refused:
        await client.call("http_request", url=url.format(port=server.port))
    assert refused.value.reason == "INPUT_REJECTED", refused.value
    assert server.requests == []


async def test_methods_headers_and_sizes_have_limits(http, client, server):
    process = http(methods=["GET", "POST"], max_response="1KiB", max_request="1KiB", timeout="2s")
    server.answers |= {"/large": answer(b"x" * 2000), "/post": answer(b"ok"), "/silent": b""}
    posted = await client.call("http_request", url=f"{server.url}/post", method="POST", body="data")
    assert posted["body"] == "ok"
    assert server.requests[-1][3] == b"data"
    for arguments, reason in (
        ({"url": f"{server.url}/large"}, "TOO_LARGE"),
        ({"url": f"{server.url}/post", "method": "POST", "body": "x" * 2000}, "TOO_LARGE"),
        ({"url": f"{server.url}/post", "headers": {"Host": "other"}}, "INPUT_REJECTED"),
        ({"url": f"{server.url}/post", "headers": {"x": "a\r\ny: b"}}, "INPUT_REJECTED"),
        ({"url": f"{server.url}/silent", "timeout_s": 0.5}, "TIMED_OUT"),
    ):
        with pytest.raises(podium.PodiumError) as failed:
            await client.call("http_request", **arguments)
        assert failed.value.reason == reason, arguments
    with pytest.raises(podium.PodiumError):
        await client.call("http_request", url=f"{server.url}/post", method="DELETE")
    assert process.process.poll() is None
