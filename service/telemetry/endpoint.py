"""Where Prometheus asks for the metrics: a small HTTP server in threads, so that the loop does nothing for it.

A few connections at once, each with an end: it is the operator's, and not for the world. Invariants: where there is a
token, nothing is told to who does not show it; no client makes closing wait.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import logging
import socket
import ssl
import sys
from collections.abc import Iterable
from contextlib import suppress
from socketserver import ThreadingMixIn
from threading import Condition, Thread, Timer
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

CONNECTIONS_MAX = 16
"""So many threads, and so much of what strangers sent in memory: a Prometheus has one or two."""
CONNECTION_S = 5.0
"""What a connection may take in all: hands shaken, request and answer. A bound on each silence would be none: who sends
a byte a second is never silent."""
_CLOSING_S = 1.0
_POLL_S = 0.1


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as the library has it
        """Log nothing."""

    def get_stderr(self) -> Any:  # noqa: ANN401 - as the library has it
        """What nobody reads: of a connection that ends too soon the library makes a traceback, for any stranger."""
        return io.StringIO()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    """More may come at once than are served, and be closed: in a full queue others would wait for a second try."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._changed = Condition()
        self._open: dict[socket.socket, Timer] = {}
        """The connections, and what ends each when its time is over."""
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the library has it
        """Serve a connection in a thread of its own; one too many is closed."""
        timer = Timer(CONNECTION_S, self._end, [request])
        timer.daemon = True
        with self._changed:
            is_full = len(self._open) >= CONNECTIONS_MAX
            if not is_full:
                self._open[request] = timer
        if is_full:
            _log.debug("a connection for the metrics was closed: there are %d others", CONNECTIONS_MAX)
            self.shutdown_request(request)
        else:
            timer.start()
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as the library has it
        """Let go of a connection, whatever became of it."""
        with self._changed:
            if (timer := self._open.pop(request, None)) is not None:
                timer.cancel()
            self._changed.notify_all()
        super().shutdown_request(request)

    def end_all(self) -> None:
        """End all connections, and wait for their threads, though not for long: they may be reading figures."""
        with self._changed:
            for connection in self._open:
                self._end(connection)
            self._changed.wait_for(lambda: not self._open, _CLOSING_S)

    def _end(self, connection: socket.socket) -> None:
        """Have the thread of a connection wake from whatever it reads or writes, and close it."""
        # It is closed only after it was taken out, which it cannot be meanwhile: the system may have given the number
        # of a closed one to somebody else's file.
        with self._changed:
            if connection in self._open:
                # Below TLS, whose state is the thread's.
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

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
            self._server = (_ServerOnIPv6 if ":" in host else _Server)((host, int(port)))
        except (OSError, KeyRefused) as error:
            raise MetricsUnavailable(f"cannot serve metrics on {address}: {error}") from None
        if context is not None:
            # Hands are shaken where the request is read, in a thread of the connection's own.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        told = _logged(make_wsgi_app(registry))
        self._server.set_app(told if token is None else _to_who_shows(token, told))
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_S,), name="metrics", daemon=True)

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    async def close(self) -> None:
        """Serve no more, and end what is open: the last checkpoint, which comes after it, waits for no stranger."""
        if self._thread.is_alive():
            await asyncio.to_thread(self._server.shutdown)
            await asyncio.to_thread(self._server.end_all)
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


def _logged(told: WSGIApplication) -> WSGIApplication:
    """The application, with its failures in the log."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return told(environ, start_response)
        except Exception:
            _log.exception("the metrics could not be read")
            raise

    return answer


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
