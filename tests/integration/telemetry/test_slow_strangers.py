"""Who is slow where the metrics are served keeps nobody else from them, and not the service from its end."""

import asyncio
import contextlib
import itertools
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.registry import Collector

import podium
from service.config import Settings
from service.main import newest_checkpoint, verifier_key, verify_log
from service.settings.listening import Listening
from service.settings.storage import Storage
from service.settings.telemetry import TelemetrySettings
from service.telemetry import endpoint as module
from service.telemetry.endpoint import Endpoint
from store.checkpoints import read_checkpoint
from tests.integration.rig.authority import Authority
from tests.integration.rig.toolbox import toolbox
from tests.integration.telemetry.test_endpoint import TOKEN, ask, trusting
from tests.ports import free_port

WITHIN_S = 2.0
"""What a connection may take here, so that the tests need not wait for what it may take elsewhere."""
DRIPS = 3
"""After so many who asks is known to be slow."""
ANSWER_BYTES = 16 << 20
"""More than the system keeps for who does not read."""


class Broken(Collector):
    """Fails whenever it is read."""

    def describe(self):
        return ()

    def collect(self):
        raise ZeroDivisionError


class Served:
    """An endpoint, and the clients that know it."""

    def __init__(self, endpoint, registry, authority):
        self.endpoint, self.registry, self._authority = endpoint, registry, authority
        self.connections = contextlib.ExitStack()

    def connect(self, *, shakes_hands=True):
        connection = socket.create_connection(("127.0.0.1", self.endpoint.port), timeout=20)
        if self._authority is not None and shakes_hands:
            connection = trusting(self._authority).wrap_socket(connection, server_hostname="127.0.0.1")
        return self.connections.enter_context(connection)

    def ask(self):
        context = None if self._authority is None else trusting(self._authority)
        return ask(self.endpoint.port, f"Bearer {TOKEN}", context)[0]


@pytest.fixture(params=["http", "https"])
async def served(request, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "CONNECTION_S", WITHIN_S)
    registry = CollectorRegistry()
    Gauge("podium_large", "x" * ANSWER_BYTES, registry=registry)
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    authority, listening, host = None, Listening(), "127.0.0.1"
    if request.param == "https":
        authority, host = Authority(tmp_path), "0.0.0.0"
        certificate, key = authority.issue("server")
        listening = Listening(tls_certificate_file=Path(certificate), tls_key_file=Path(key))
    settings = TelemetrySettings(metrics_address=f"{host}:0", metrics_token_file=token)
    endpoint = Endpoint(settings, listening, registry)
    endpoint.start()
    clients = Served(endpoint, registry, authority)
    with clients.connections:
        yield clients
    await endpoint.close()


def drip(connection, begun, stopped):
    """Sends a request that has no end, never silent for long."""
    with contextlib.suppress(OSError):
        connection.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        for number in itertools.count(1):
            if stopped.wait(0.1):
                break
            connection.sendall(b"x")
            if number == DRIPS:
                begun.set()


@contextlib.contextmanager
def dripping(connection):
    begun, stopped = threading.Event(), threading.Event()
    thread = threading.Thread(target=drip, args=(connection, begun, stopped))
    thread.start()
    try:
        assert begun.wait(20)
        yield
    finally:
        stopped.set()
        thread.join()


def ended_after_s(connection):
    """For how long it was open, from now; what comes meanwhile is thrown away."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while connection.recv(1 << 20):
            pass
    return time.monotonic() - began


def test_whoever_is_slow_is_ended_and_keeps_nobody_from_the_metrics(served, capfd):
    silent, greedy, slow = served.connect(shakes_hands=False), served.connect(), served.connect()
    greedy.sendall(f"GET /metrics HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    with dripping(slow):
        assert served.ask() == 200
        assert WITHIN_S / 2 < ended_after_s(slow) < WITHIN_S * 3, "however often it says something"
    assert ended_after_s(silent) < WITHIN_S
    told = 0
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := greedy.recv(1 << 20):
            told += len(piece)
    assert told < ANSWER_BYTES, "who does not read the answer in time does not get it"
    assert served.ask() == 200
    assert capfd.readouterr().err == "", "strangers do not write the service's log"


def test_one_connection_too_many_is_closed_at_once_and_later_there_is_room(served):
    for _ in range(module.CONNECTIONS_MAX - 1):
        served.connect(shakes_hands=False)
    # Negative control: with one fewer, who asks is answered.
    assert served.ask() == 200
    last, one_more = served.connect(shakes_hands=False), served.connect(shakes_hands=False)
    assert ended_after_s(one_more) < WITHIN_S / 2
    assert ended_after_s(last) > WITHIN_S / 4
    assert served.ask() == 200


@pytest.mark.parametrize("served", ["http"], indirect=True)
def test_metrics_that_cannot_be_read_are_a_complaint_in_the_log(served, caplog):
    """Negative control: it is strangers alone of whom nothing is logged."""
    served.registry.register(Broken())
    assert served.ask() == 500
    assert "ZeroDivisionError" in caplog.text


async def test_closing_ends_what_is_open_and_waits_for_nobody(served, monkeypatch):
    monkeypatch.setattr(module, "CONNECTION_S", 60.0)
    slow, silent = await asyncio.to_thread(served.connect), served.connect(shakes_hands=False)
    with dripping(slow):
        began = time.monotonic()
        await served.endpoint.close()
        assert time.monotonic() - began < 2
        for connection in (slow, silent):
            assert await asyncio.to_thread(ended_after_s, connection) < 1
    with pytest.raises(OSError, match="refused"):
        served.connect()


async def test_a_service_ends_in_order_and_signs_its_log_whoever_is_slow(own_service):
    port = free_port()
    # It signs at its end alone.
    told = {"checkpoint_every_events": 100_000, "checkpoint_interval_ms": 3_600_000, "drain_ms": 1_000}
    service = own_service(metrics_address=f"127.0.0.1:{port}", **told).start()
    async with podium.connect(service.address, service.token(), serve=toolbox()) as client:
        await client.call("echo", value=1)
    with socket.create_connection(("127.0.0.1", port)) as slow, dripping(slow):
        service.signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.ended) == 0
    signed = read_checkpoint(await asyncio.to_thread(newest_checkpoint, str(service.database)))
    key = verifier_key(Settings(storage=Storage(state_directory=service.directory / "state")))
    verified = await asyncio.to_thread(verify_log, str(service.database), [key])
    assert verified.is_clean
    assert signed.size == verified.head > 0
