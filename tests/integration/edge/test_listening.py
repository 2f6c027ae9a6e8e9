"""Where the service listens: TLS, certificates of clients, unix sockets, and what it refuses to listen on."""

import asyncio

import grpc
import pytest

import podium
from podium.connection import TLS
from tests.integration.rig.authority import Authority
from tests.integration.rig.caller import Caller
from tests.integration.rig.history import payload
from tests.integration.rig.refusal import refusal_if_any
from tests.integration.rig.requests import invoke
from tests.integration.rig.toolbox import toolbox

LIST = "/podium.v1.WorkflowService/ListWorkflows"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path):
    return Authority(tmp_path, "stranger")


@pytest.fixture
def secured(own_service, authority):
    """A service with TLS; with `clients`, whose certificates it wants."""

    def start(*, clients=None, **settings):
        certificate, key = authority.issue("server")
        told = {"tls_certificate_file": certificate, "tls_key_file": key, **settings}
        if clients is not None:
            told["tls_client_ca_file"] = clients.certificate_file
        return own_service(**told).start()

    return start


def credentials(authority, pair=None):
    certificate, key = pair or (None, None)
    return grpc.ssl_channel_credentials(
        authority.certificate_file.read_bytes(),
        key.read_bytes() if key else None,
        certificate.read_bytes() if certificate else None,
    )


async def knock(service, chosen=None):
    """How the service refuses a call with a good token; None: it does not."""
    caller = Caller(service.address, service.token(), credentials=chosen)
    try:
        return await refusal_if_any(invoke(caller, LIST))
    finally:
        await caller.close()


async def test_with_tls_who_trusts_the_authority_is_served_and_nobody_in_the_clear(secured, authority, stranger):
    service = secured()
    assert await knock(service, credentials(authority)) is None
    for chosen in (None, credentials(stranger)):
        assert (await knock(service, chosen)).code == "UNAVAILABLE"
    assert service.complaints() == []


async def test_with_an_authority_for_clients_a_certificate_is_needed_beside_the_token(secured, authority, stranger):
    service = secured(clients=authority)
    assert await knock(service, credentials(authority, authority.issue("client"))) is None
    for chosen in (credentials(authority), credentials(authority, stranger.issue("client"))):
        assert (await knock(service, chosen)).code == "UNAVAILABLE"
    # The certificate alone opens nothing.
    nobody = Caller(service.address, credentials=credentials(authority, authority.issue("client")))
    assert (await refusal_if_any(invoke(nobody, LIST))).reason == "TOKEN_MISSING"
    await nobody.close()


async def test_the_sdk_and_its_executors_reach_it_by_what_they_are_given(secured, authority):
    service = secured(clients=authority)
    certificate, key = authority.issue("sdk")
    tls = TLS(str(authority.certificate_file), str(certificate), str(key))
    async with podium.connect(f"https://{service.address}", service.token(), serve=toolbox(), tls=tls) as client:
        assert (await client.call("echo", {"value": 5})) == 5


async def test_the_sdk_finds_the_files_in_its_environment(secured, authority, monkeypatch):
    service = secured(clients=authority)
    certificate, key = authority.issue("sdk")
    monkeypatch.setenv("PODIUM_TLS_CA_FILE", str(authority.certificate_file))
    monkeypatch.setenv("PODIUM_TLS_CLIENT_CERTIFICATE_FILE", str(certificate))
    monkeypatch.setenv("PODIUM_TLS_CLIENT_KEY_FILE", str(key))
    async with podium.connect(f"https://{service.address}", service.token()) as client:
        assert await client.tools() == []
    monkeypatch.setenv("PODIUM_TLS_CA_FILE", "nowhere.pem")
    with pytest.raises(podium.InvalidInput, match=r"nowhere\.pem cannot be read"):
        async with podium.connect(f"https://{service.address}", service.token()):
            pass


async def test_a_unix_socket_serves_and_callers_have_its_name_for_an_address(own_service, tmp_path):
    service = own_service(listen_address=f"unix:{tmp_path}/podium.sock")
    await asyncio.to_thread(service.start)
    assert service.address == f"unix:{tmp_path}/podium.sock"
    caller = Caller(service.address, service.token())
    workflow_id = await caller.start(open=True)
    added = payload(await caller.history(workflow_id), "steps_added")
    assert added.authority.principal.address == "unix"
    async with podium.connect(service.address, service.token(), serve=toolbox()) as client:
        assert (await client.call("echo", {"value": 5})) == 5
    await caller.close()


async def test_beyond_this_machine_it_listens_with_tls_or_when_told_to(own_service, secured, authority):
    refused = own_service(listen_address="0.0.0.0:0")
    with pytest.raises(RuntimeError, match="there is no TLS to protect tokens"):
        refused.start()
    assert await knock(secured(listen_address="0.0.0.0:0"), credentials(authority)) is None
    told_to = own_service(listen_address="0.0.0.0:0", allow_insecure_listen="true").start()
    assert await knock(told_to) is None


@pytest.mark.parametrize("broken", ["missing", "garbage"])
def test_files_that_are_of_no_use_keep_it_from_starting(own_service, authority, tmp_path, broken):
    certificate, key = authority.issue("server")
    if broken == "missing":
        certificate = tmp_path / "nowhere.pem"
    else:
        key.write_text("no key")
    service = own_service(tls_certificate_file=certificate, tls_key_file=key)
    with pytest.raises(RuntimeError, match="cannot listen on"):
        service.start()
