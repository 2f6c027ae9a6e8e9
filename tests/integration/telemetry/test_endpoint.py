"""Where the metrics are served: to whom, and over what."""

import http.client
import secrets
import ssl

import pytest

from tests.integration.rig.authority import Authority
from tests.ports import free_port

TOKEN = "0123456789abcdef" * 4
OTHERS = [
    None,
    "",
    "Bearer",
    "Bearer ",
    f"Bearer {'0' * 64}",
    f"Bearer {TOKEN[:-1]}",
    f"Bearer {TOKEN[:-2]}",
    f"Bearer {TOKEN}00",
    f"Bearer {TOKEN}, Bearer {TOKEN}",
    f"Basic {TOKEN}",
    f"Bearer{TOKEN}",
    "Bearer \xe9",
    TOKEN,
]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "metrics.token"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def serve(own_service):
    """Starts a service with its metrics on an address of this machine, and gives the port."""

    def start(host, **settings):
        port = free_port()
        own_service(metrics_address=f"{host}:{port}", **settings).start()
        return port

    return start


def trusting(authority, pair=None):
    """A client that knows the authority, with a certificate of its own."""
    context = ssl.create_default_context(cafile=authority.certificate_file)
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


def ask(port, authorization=None, context=None):
    """The status, the headers, and what was told."""
    made = http.client.HTTPSConnection if context else http.client.HTTPConnection
    connection = made("127.0.0.1", port, timeout=20, **({"context": context} if context else {}))
    try:
        connection.request("GET", "/metrics", headers={"Authorization": authorization} if authorization else {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def tells(answer):
    status, headers, body = answer
    assert status == 200 or "podium_" not in body
    # Without its length an answer over TLS ends as one that was cut off.
    assert status != 200 or int(headers["Content-Length"]) == len(body.encode())
    return status == 200 and "podium_events" in body


def test_on_this_machine_whoever_asks_is_told(serve, authority):
    certificate, key = authority.issue("server")
    assert tells(ask(serve("127.0.0.1", tls_certificate_file=certificate, tls_key_file=key)))


def test_where_there_is_a_token_nobody_is_told_without(serve, token_file):
    port = serve("127.0.0.1", metrics_token_file=token_file)
    for said in (f"Bearer {TOKEN}", f"bearer {TOKEN.upper()}"):
        assert tells(ask(port, said))
    for said in [*OTHERS, f"Bearer {secrets.token_hex(32)}"]:
        status, headers, body = ask(port, said)
        assert (status, headers["WWW-Authenticate"], body) == (401, "Bearer", ""), said


def test_beyond_this_machine_they_are_served_over_tls_to_who_has_the_token(serve, authority, token_file):
    certificate, key = authority.issue("server")
    told = {"tls_certificate_file": certificate, "tls_key_file": key, "metrics_token_file": token_file}
    port = serve("0.0.0.0", **told)
    context = trusting(authority)
    assert tells(ask(port, f"Bearer {TOKEN}", context))
    assert not tells(ask(port, context=context))
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(port, f"Bearer {TOKEN}")
    # Who is refused leaves it as it was.
    assert tells(ask(port, f"Bearer {TOKEN}", context))


def test_beyond_this_machine_a_certificate_will_do(serve, authority, tmp_path):
    certificate, key = authority.issue("server")
    told = {"tls_certificate_file": certificate, "tls_key_file": key, "tls_client_ca_file": authority.certificate_file}
    port = serve("0.0.0.0", **told)
    assert tells(ask(port, context=trusting(authority, authority.issue("prometheus"))))
    stranger = Authority(tmp_path, "stranger").issue("prometheus")
    for pair in (None, stranger):
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(port, context=trusting(authority, pair))


def test_beyond_this_machine_without_protection_they_are_served_when_that_is_said(own_service, serve):
    refused = own_service(metrics_address="0.0.0.0:0")
    with pytest.raises(RuntimeError, match="metrics name all tenants and tools"):
        refused.start()
    assert tells(ask(serve("0.0.0.0", metrics_allow_insecure_listen="true")))


@pytest.mark.parametrize("broken", ["missing", "open to others", "no key"])
def test_a_token_that_is_of_no_use_keeps_it_from_starting(own_service, token_file, broken):
    if broken == "missing":
        token_file.unlink()
    elif broken == "open to others":
        token_file.chmod(0o644)
    else:
        token_file.write_text("hunter2")
    with pytest.raises(RuntimeError, match="cannot serve metrics on") as refused:
        own_service(metrics_address="127.0.0.1:0", metrics_token_file=token_file).start()
    assert "hunter2" not in str(refused.value)
