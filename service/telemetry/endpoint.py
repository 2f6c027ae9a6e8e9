"""Where Prometheus asks for the metrics: a small HTTP server in a thread, so that the loop does nothing for it.

One request at a time, and each silence on a connection bounded: it is the operator's, and not for the world. Invariant:
where there is a token, nothing is told to who does not show it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
import ssl
import sys
from collections.abc import Iterable
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from service.admission.token_keys import KeyRefused, load_secret
from service.settings.listening import Listening
from service.settings.telemetry import TelemetrySettings
from service.telemetry.switch import MetricsUnavailable

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger(__name__)

_SILENCE_S = 5.0
_POLL_S = 0.1


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as the library has it
        """Log nothing."""


class _Server(WSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the library has it
        """A connection broke, or what came was no TLS."""
        del request, client_address
        _log.debug("a request for the metrics was not answered: %s", getattr(sys.exc_info()[0], "__name__", ""))


class _ServerOnIPv6(_Server):
    address_family = socket.AF_INET6


class Endpoint:
    """Serves a registry over HTTP; beyond this machine over HTTPS, where the service has a certificate."""

    def __init__(self, settings: TelemetrySettings, listening: Listening, registry: CollectorRegistry) -> None:
        """Takes the address, and serves nothing yet. Raises MetricsUnavailable."""
        address = settings.metrics_address
        host, _, port = address.rpartition(":")
        host = host.strip("[]")

        try:
            token = None if settings.metrics_token_file is None else load_secret(settings.metrics_token_file)
            context = None if settings.metrics_are_local else _tls(listening)
            self._server = (_ServerOnIPv6 if ":" in host else _Server)((host, int(port)), _Handler)
        except (OSError, KeyRefused) as error:
            raise MetricsUnavailable(f"cannot serve metrics on {address}: {error}") from None
        if context is not None:
            # Hands are shaken where the request is read, which has an end.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        told = make_wsgi_app(registry)
        self._server.set_app(told if token is None else _to_who_shows(token, told))
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_S,), name="metrics", daemon=True)

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    async def close(self) -> None:
        """Serve no more."""
        if self._thread.is_alive():
            await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()


def _tls(listening: Listening) -> ssl.SSLContext | None:
    """The service's own certificate, and whose certificates callers must show; None: it has none. Raises OSError."""
    if listening.tls_certificate_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # With a password, be it none, nobody is asked for one on the terminal.
    context.load_cert_chain(listening.tls_certificate_file, listening.tls_key_file, password="")
    if listening.tls_client_ca_file is not None:
        context.load_verify_locations(listening.tls_client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _to_who_shows(token: bytes, told: WSGIApplication) -> WSGIApplication:
    """The application behind a bearer token, which is compared in a time that tells nothing of it."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        scheme, _, text = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        try:
            shown = bytes.fromhex(text)
        except ValueError:
            shown = b""
        if hmac.compare_digest(shown, token) and scheme.lower() == "bearer":
            return told(environ, start_response)
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
        return [b""]

    return answer
