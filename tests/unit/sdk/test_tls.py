"""With TLS: a server is believed only when an authority that the caller trusts has signed for it."""

import datetime as dt
import ipaddress

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import podium

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that is its own authority: (file, certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "podium")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(days=1))
        .not_valid_after(NOW + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    file = tmp_path / "ca.pem"
    file.write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return str(file), pem, private


@pytest.fixture
async def address(certificate):
    """A server without any method: whoever reaches it is answered."""
    _, pem, private = certificate
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(private, pem)]))
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_a_server_that_is_trusted_is_reached(address, certificate):
    tls = podium.TLS(ca_file=certificate[0])
    for named in (address, f"https://{address}"):
        async with podium.connect(named, "t", tls=tls) as client:
            with pytest.raises(podium.PodiumError) as raised:
                await client.get("wf")
        assert raised.value.reason == "UNIMPLEMENTED"


async def test_a_server_that_nobody_vouches_for_is_not(address, monkeypatch):
    monkeypatch.setattr("podium.connection._FIRST_CONTACT_S", 0.2)
    with pytest.raises(podium.Unavailable, match="no Podium server answers"):
        async with podium.connect(f"https://{address}", "t"):
            pass
