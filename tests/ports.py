"""Ports of the loopback address for the servers of tests."""

import contextlib
import random
import socket

_GIVEN_OUT_BY_NOBODY = range(10_000, 32_000)
"""Below those that the kernel gives to connections and to whoever asks for any port."""


def free_port():
    """A port that nobody listens on. No connection is given it, so that it stays free until a server takes it."""
    while True:
        port = random.SystemRandom().choice(_GIVEN_OUT_BY_NOBODY)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
