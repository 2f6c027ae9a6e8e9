"""The settings of where the service listens, and what is wrong with them; service.config reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.settings.tokens import is_loopback

_PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the service listens, and how callers are protected from those between."""

    listen_address: str = "127.0.0.1:7233"
    """host:port, [host]:port for IPv6, or unix:path. Port 0: any that is free."""
    tls_certificate_file: Path | None = None
    """The certificate, in PEM, with which the service shows who it is. With it callers must use TLS."""
    tls_key_file: Path | None = None
    """The certificate's private key, in PEM."""
    tls_client_ca_file: Path | None = None
    """Callers must show a certificate signed by one of these."""
    allow_insecure_listen: bool = False
    """Listen beyond this machine without TLS, where something else protects the network."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.listen_address.startswith("unix:"):
            return True
        return is_loopback(self.listen_address.rpartition(":")[0].strip("[]"))


def listening_problems(listening: Listening) -> Iterator[str]:
    """What is wrong with the settings of listening, one line each."""
    address = listening.listen_address
    host, _, port = address.rpartition(":")
    if not address.startswith("unix:") and (not host or not port.isdecimal() or int(port) > _PORT_MAX):
        yield f"PODIUM_LISTEN_ADDRESS is {address!r}, which is neither host:port nor unix:path"
        return
    if (listening.tls_certificate_file is None) != (listening.tls_key_file is None):
        yield "PODIUM_TLS_CERTIFICATE_FILE and PODIUM_TLS_KEY_FILE need each other"
    if listening.tls_client_ca_file is not None and listening.tls_certificate_file is None:
        yield "PODIUM_TLS_CLIENT_CA_FILE needs PODIUM_TLS_CERTIFICATE_FILE and PODIUM_TLS_KEY_FILE"
    if not listening.is_local and listening.tls_certificate_file is None and not listening.allow_insecure_listen:
        yield (
            f"PODIUM_LISTEN_ADDRESS is {address}, which others can reach, and there is no TLS to protect tokens: set "
            "PODIUM_TLS_CERTIFICATE_FILE and PODIUM_TLS_KEY_FILE, listen on 127.0.0.1, or set "
            "PODIUM_ALLOW_INSECURE_LISTEN=true where something else protects the network"
        )
