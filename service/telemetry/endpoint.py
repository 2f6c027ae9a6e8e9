"""Where Prometheus asks for the metrics: a small HTTP server in a thread, so that the loop does nothing for it.

One request at a time, and each connection bounded in time: it is the operator's, and not for the world.
"""

from __future__ import annotations

import asyncio
import socket
from http.server import HTTPServer
from threading import Thread

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

from service.telemetry.switch import MetricsUnavailable

_SILENCE_S = 5.0
_POLL_S = 0.1


class Endpoint:
    """Serves a registry over HTTP."""

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        """Takes the address, host:port, and serves nothing yet. Raises MetricsUnavailable."""
        host, _, port = address.rpartition(":")
        host = host.strip("[]")

        class Handler(MetricsHandler):
            timeout = _SILENCE_S

        class Server(HTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        Handler.registry = registry
        try:
            self._server = Server((host, int(port)), Handler)
        except OSError as error:
            raise MetricsUnavailable(f"cannot serve metrics on {address}: {error}") from None
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
