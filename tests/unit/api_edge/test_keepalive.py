"""Who waits long in silence is not cut off: what clients ping is what the service allows."""

import asyncio
import contextlib
import mmap
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc._cython import cygrpc

from podium.connection import _OPTIONS
from service.config import Settings
from service.listening import server_options

CLIENT, SERVER = dict(_OPTIONS), dict(server_options(Settings()))
ALLOWED, EVERY = "grpc.http2.min_ping_interval_without_data_ms", "grpc.keepalive_time_ms"
SILENCE_S = 5.5
"""gRPC pings at most once a second, and the fourth ping that is not allowed is the last."""


def is_known(name):
    """Whether gRPC has an option of this name: it ignores any other in silence."""
    with Path(cygrpc.__file__).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
        return library.find(name.encode() + b"\0") >= 0


@pytest.mark.parametrize("name", sorted({*CLIENT, *SERVER}))
def test_every_option_is_one_of_grpc(name):
    assert is_known(name)


def test_an_option_that_grpc_does_not_have_would_be_noticed():
    """Negative control: a name that is nearly one."""
    assert not is_known("grpc.http2.min_recv_ping_interval_without_data_ms")


def test_clients_ping_no_more_often_than_the_service_allows():
    assert SERVER[ALLOWED] * 2 <= CLIENT[EVERY]
    assert SERVER["grpc.keepalive_permit_without_calls"] == CLIENT["grpc.keepalive_permit_without_calls"] == 1
    assert SERVER["grpc.http2.max_pings_without_data"] == CLIENT["grpc.http2.max_pings_without_data"] == 0


class Silent(grpc.GenericRpcHandler):
    """Says nothing for a while, to whoever waits for one answer and to whoever reads a stream."""

    def service(self, details):
        async def answer(_request, _context):
            await asyncio.sleep(SILENCE_S)
            return b"done"

        async def stream(request, context):
            yield await answer(request, context)

        if details.method.endswith("stream"):
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(answer)


@contextlib.asynccontextmanager
async def reached(options):
    """A channel with the client's options, a hundred times as fast, to a server with these."""
    server = grpc.aio.server(options=list(options.items()))
    server.add_generic_rpc_handlers((Silent(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    fast = [*{**CLIENT, EVERY: CLIENT[EVERY] // 100}.items()]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=fast) as channel:
        yield channel
    await server.stop(None)


async def test_a_call_and_a_stream_that_are_silent_for_many_pings_are_answered():
    """With a negative control beside it: with gRPC's own bound, a ping in five minutes, both are cut off."""
    allowing = {**SERVER, ALLOWED: SERVER[ALLOWED] // 100}
    forbidding = {name: value for name, value in SERVER.items() if name != ALLOWED}
    async with reached(allowing) as allowed, reached(forbidding) as forbidden:
        calls = [
            waiting
            for channel in (allowed, forbidden)
            for waiting in (
                channel.unary_unary("/silent/unary")(b""),
                channel.unary_stream("/silent/stream")(b"").read(),
            )
        ]
        unary, stream, cut_off, torn = await asyncio.gather(*calls, return_exceptions=True)
    assert (unary, stream) == (b"done", b"done")
    assert "Too many pings" in cut_off.details()
    assert "Too many pings" in torn.details()
