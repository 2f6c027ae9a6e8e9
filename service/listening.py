"""Where and how the service listens: its address, TLS, and the limits of gRPC."""

from __future__ import annotations

import grpc
import grpc.aio

from service.config import Settings
from service.settings.listening import Listening


class ListenError(Exception):
    """The service cannot listen where it should."""


def bind(server: grpc.aio.Server, listening: Listening) -> str:
    """Bind the server and return its address. Raises ListenError."""
    address = listening.listen_address
    try:
        credentials = _credentials(listening)
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except (RuntimeError, OSError) as error:
        raise ListenError(f"cannot listen on {address}: {error}") from None
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def _credentials(listening: Listening) -> grpc.ServerCredentials | None:
    if listening.tls_certificate_file is None or listening.tls_key_file is None:
        return None
    authority = listening.tls_client_ca_file
    return grpc.ssl_server_credentials(
        [(listening.tls_key_file.read_bytes(), listening.tls_certificate_file.read_bytes())],
        root_certificates=authority.read_bytes() if authority else None,
        require_client_auth=authority is not None,
    )


def server_options(settings: Settings) -> list[tuple[str, int]]:
    """The options of the gRPC server."""
    return [
        ("grpc.max_receive_message_length", settings.limits.message_bytes),
        ("grpc.max_send_message_length", settings.limits.message_bytes),
        # A second server must fail to bind and not share the port in silence.
        ("grpc.so_reuseport", 0),
        # A caller that waits long in silence shows every 30 s that it is there (podium/connection.py). gRPC's own
        # bound, a ping in five minutes, has whoever asks more often go away; a third of their time leaves room.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
