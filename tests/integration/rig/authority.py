"""An authority that signs certificates, for tests of TLS: its own, a server's, a client's, each in files."""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """Signs for as long as a test lasts."""

    def __init__(self, folder, name="authority"):
        self._folder = folder
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate_file = self._write(name, self._signed(name, self._key.public_key(), is_authority=True))

    def issue(self, name):
        """Makes a certificate for this machine's loopback addresses; returns its file and that of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._write(name, self._signed(name, key.public_key(), is_authority=False))
        key_file = self._folder / f"{self._name}-{name}.key"
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key_file

    def _signed(self, name, public_key, *, is_authority):
        now = dt.datetime.now(dt.UTC)
        addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(self._name))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name, certificate):
        path = self._folder / f"{self._name}-{name}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        return path
