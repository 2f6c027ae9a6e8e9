"""The client against real servers on this machine: it connects to what was checked, and to nothing else."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import itertools
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from podium.sanitizers import Rejected
from podium.sanitizers.pinned_client import PinnedClient, RequestFailed
from podium.sanitizers.url import UrlSanitizer

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
SECRET = "the private page"
NOW = dt.datetime.now(dt.UTC)


def answer(body="", status="200 OK", **headers):
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class Server:
    """Answers each path with bytes, and keeps what it was asked and over how many connections."""

    def __init__(self, pages):
        self.pages = pages
        self.requests = []
        self.connections = 0

    async def serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((int(line[15:]) for line in head.splitlines() if line.startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                self.requests.append((head, body))
                writer.write(self.pages[head.split()[1]])
                await writer.drain()
        writer.close()


@pytest.fixture
async def servers():
    """One that stands for the public web and one that nobody may reach, on the same port."""
    public, private = Server({}), Server({"/": answer(SECRET)})
    first = await asyncio.start_server(public.serve, PUBLIC, 0)
    port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(private.serve, PRIVATE, port)
    yield public, private, port
    for each in (first, second):
        each.close()


def policy(port, **options):
    """As in production, but that one address of this machine stands for the public web."""
    return UrlSanitizer({"schemes": ["http", "https"], "networks": [f"{PUBLIC}/32"], "ports": [port], **options})


def always(*addresses):
    async def resolver(host, port):
        return addresses

    return resolver


@contextlib.asynccontextmanager
async def client_of(port, resolver, tls=None, **options):
    async with PinnedClient(policy(port, **options), resolver=resolver, tls=tls) as client:
        yield client


def get(client, url, **options):
    return client.request("GET", url, **{"max_bytes": 10_000, "timeout": 10, **options})


async def test_a_page_is_fetched_from_the_checked_address_by_its_name(servers):
    public, _, port = servers
    public.pages["/a?b=c"] = answer("hello", x="1")
    async with client_of(port, always(PUBLIC)) as client:
        response = await get(client, f"http://web.example:{port}/a?b=c#d", headers={"Accept": "text/plain"})
    assert (response.status, response.body, dict(response.headers)["x"]) == (200, b"hello", "1")
    head = public.requests[0][0].lower()
    assert f"host: web.example:{port}" in head
    assert "accept: text/plain" in head


async def test_connections_are_kept_and_the_name_is_not_resolved_again(servers):
    public, _, port = servers
    public.pages["/"] = answer("x")
    asked = []

    async def resolver(host, _):
        asked.append(host)
        return [PUBLIC]

    async with client_of(port, resolver) as client:
        for _ in range(5):
            await get(client, f"http://web.example:{port}/")
    assert (public.connections, asked) == (1, ["web.example"])


@pytest.mark.parametrize(
    "answers",
    [
        [PRIVATE],
        [PUBLIC, PRIVATE],
        [PRIVATE, PUBLIC],
        ["::ffff:127.0.0.2"],
        ["64:ff9b::7f00:2"],
        ["::1"],
        ["fe80::1%lo"],
        ["169.254.169.254"],
    ],
)
async def test_a_name_with_any_answer_that_is_not_public_is_refused(servers, answers):
    _, private, port = servers
    async with client_of(port, always(*answers)) as client:
        with pytest.raises(Rejected) as raised:
            await get(client, f"http://web.example:{port}/")
    assert raised.value.reason == "ADDRESS_NOT_PUBLIC"
    assert private.connections == 0


def alternating():
    """A resolver of an attacker's: the first answer is harmless, the next one is not, and so on."""
    turns = itertools.cycle([PUBLIC, PRIVATE])

    async def resolver(host, port):
        return [next(turns)]

    return resolver


async def test_an_answer_that_changes_between_check_and_use_leads_nowhere(servers):
    public, private, port = servers
    public.pages["/"] = answer("harmless", connection="close")
    async with client_of(port, alternating()) as client:
        for _ in range(10):
            with contextlib.suppress(Rejected):
                assert (await get(client, f"http://web.example:{port}/")).body == b"harmless"
    assert public.connections == 5
    assert private.connections == 0


async def test_a_check_and_a_second_look_up_reach_the_private_server(servers):
    _, private, port = servers
    resolver, rules = alternating(), policy(port)
    checked = await resolver("web.example", port)
    assert all(rules.admits(ipaddress.ip_address(each)) for each in checked)
    # What a library does with the name it was handed after the check.
    reader, writer = await asyncio.open_connection((await resolver("web.example", port))[0], port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert SECRET.encode() in await reader.read(1000)
    writer.close()
    assert private.connections == 1


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "//127.0.0.2:{port}/",
        "http://2130706434:{port}/",
        "http://0x7f.2:{port}/",
        "http://[::ffff:7f00:2]:{port}/",
        "http://private.example:{port}/",
        "http://x@127.0.0.2:{port}/",
        "file:///etc/passwd",
    ],
)
async def test_a_redirect_to_what_is_not_public_is_refused(servers, status, location):
    public, private, port = servers
    public.pages["/"] = answer(status=status, location=location.format(port=port))

    async def resolver(host, _):
        return [PRIVATE if host == "private.example" else PUBLIC]

    async with client_of(port, resolver) as client:
        with pytest.raises(Rejected):
            await get(client, f"http://web.example:{port}/")
    assert private.connections == 0


async def test_a_redirect_is_followed_with_the_caller_s_secrets_left_behind(servers):
    public, _, port = servers
    public.pages["/a"] = answer(status="302 Found", location="b?c")
    public.pages["/b?c"] = answer(status="302 Found", location=f"http://other.example:{port}/d")
    public.pages["/d"] = answer("there")
    async with client_of(port, always(PUBLIC)) as client:
        response = await get(client, f"http://web.example:{port}/a", headers={"Authorization": "s", "X-Key": "s"})
    assert (response.body, response.url) == (b"there", f"http://other.example:{port}/d")
    carried = ["authorization" in head and "x-key" in head for head, _ in public.requests]
    assert carried == [True, True, False]


async def test_redirects_have_an_end_and_never_leave_tls(servers):
    public, _, port = servers
    public.pages["/"] = answer(status="302 Found", location="/")
    async with client_of(port, always(PUBLIC)) as client:
        with pytest.raises(Rejected) as raised:
            await get(client, f"http://web.example:{port}/")
    assert raised.value.reason == "REDIRECTS"
    assert len(public.requests) == 6


async def test_a_body_is_sent_and_does_not_follow_to_another_host(servers):
    public, _, port = servers
    public.pages["/"] = answer("ok")
    public.pages["/away"] = answer(status="307 T", location=f"http://other.example:{port}/")
    async with client_of(port, always(PUBLIC)) as client:
        sent = {"body": b"data", "max_bytes": 100, "timeout": 10}
        assert (await client.request("POST", f"http://web.example:{port}/", **sent)).body == b"ok"
        with pytest.raises(Rejected) as raised:
            await client.request("POST", f"http://web.example:{port}/away", **sent)
    assert raised.value.reason == "REDIRECT_WITH_BODY"
    assert public.requests[0][1] == b"data"


async def test_an_answer_that_is_too_large_is_cut_off_whatever_it_announces(servers):
    public, _, port = servers
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    public.pages["/"] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * 20 + b"0\r\n\r\n"
    async with client_of(port, always(PUBLIC)) as client:
        with pytest.raises(Rejected) as raised:
            await get(client, f"http://web.example:{port}/", max_bytes=100_000)
    assert raised.value.reason == "RESPONSE_TOO_LARGE"


async def test_an_answer_that_never_ends_is_given_up(servers):
    public, _, port = servers
    public.pages["/"] = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345"
    async with client_of(port, always(PUBLIC)) as client:
        with pytest.raises(RequestFailed) as raised:
            await get(client, f"http://web.example:{port}/", timeout=0.2)
    assert raised.value.reason == "TIMED_OUT"


async def test_what_fails_says_how(servers):
    public, _, port = servers
    public.pages["/"] = b"nonsense\r\n\r\n"
    async with client_of(port, always(PUBLIC)) as client:
        with pytest.raises(RequestFailed) as raised:
            await get(client, f"http://web.example:{port}/")
        assert raised.value.reason == "PROTOCOL_ERROR"
    async with client_of(1, always(PUBLIC)) as client:
        with pytest.raises(RequestFailed) as raised:
            await get(client, "http://web.example:1/")
        assert raised.value.reason == "UNREACHABLE"
    async with client_of(port, always()) as client:
        with pytest.raises(RequestFailed) as raised:
            await get(client, f"http://web.example:{port}/")
        assert raised.value.reason == "UNRESOLVED"


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Proxy-Authorization"])
async def test_headers_that_frame_or_direct_a_request_are_refused(servers, name):
    async with client_of(servers[2], always(PUBLIC)) as client:
        with pytest.raises(Rejected) as raised:
            await get(client, "http://web.example/", headers={name: "1"})
    assert raised.value.reason == "HTTP_HEADER"


async def test_a_header_does_not_make_another(servers):
    async with client_of(servers[2], always(PUBLIC)) as client:
        for headers in ({"X": "a\r\nHost: b"}, {"X\r\nY": "a"}, {"X": "a", "x": "b"}):
            with pytest.raises(Rejected) as raised:
                await get(client, "http://web.example/", headers=headers)
            assert raised.value.reason == "HTTP_HEADER"


async def test_no_proxy_of_the_environment_is_used(servers, monkeypatch):
    public, private, port = servers
    public.pages["/"] = answer("direct")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{PRIVATE}:{port}")
    async with client_of(port, always(PUBLIC)) as client:
        assert (await get(client, f"http://web.example:{port}/")).body == b"direct"
    assert private.connections == 0


def authority(tmp_path, host):
    """TLS of a server whose certificate is for `host`, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW - dt.timedelta(days=1))
    builder = builder.not_valid_after(NOW + dt.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "tls.pem").write_bytes(private + certificate)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "tls.pem")
    return serving, ssl.create_default_context(cadata=certificate.decode())


async def test_tls_is_verified_by_the_host_s_name_at_the_pinned_address(tmp_path):
    server = Server({"/": answer("sealed"), "/down": answer(status="302 F", location="http://web.example/")})
    serving, trusting = authority(tmp_path, "web.example")
    listening = await asyncio.start_server(server.serve, PUBLIC, 0, ssl=serving)
    port = listening.sockets[0].getsockname()[1]
    async with client_of(port, always(PUBLIC), tls=trusting) as client:
        assert (await get(client, f"https://web.example:{port}/")).body == b"sealed"
        with pytest.raises(Rejected) as refused:
            await get(client, f"https://web.example:{port}/down")
        with pytest.raises(RequestFailed) as failed:
            await get(client, f"https://other.example:{port}/")
    listening.close()
    assert refused.value.reason == "REDIRECT_INSECURE"
    assert failed.value.reason == "UNREACHABLE"
