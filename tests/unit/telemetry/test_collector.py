"""A collector that takes its time is given up in time, and leaves no thread behind."""

import asyncio
import threading

import pytest
from opentelemetry.proto.resource.v1 import resource_pb2

from service.telemetry.collector import Collector, Unreachable
from tests.integration.rig.key_server import key_server

NOTHING = resource_pb2.Resource()


@pytest.fixture
async def server():
    async with key_server(expects=b"POST /keys/v1/traces HTTP/1.1\r\n") as served:
        yield served


def under_way():
    return [thread for thread in threading.enumerate() if thread.name == "otlp"]


async def all_over():
    """Whether the threads that send end now."""
    threads = under_way()
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
    return not under_way()


async def sends(collector):
    async with asyncio.timeout(10):
        await collector.send("/v1/traces", NOTHING)


@pytest.mark.parametrize("broken", ["slow", "silent"])
async def test_a_request_is_bounded_as_a_whole_and_the_next_one_is_sent(server, broken):
    server.broken = getattr(server, broken)
    collector = Collector(server.url, {}, timeout_s=0.5)
    with pytest.raises(Unreachable, match=r"did not answer within 0\.5 s"):
        await sends(collector)
    assert await all_over()
    server.broken = None
    await sends(collector)
    assert server.asked == 2
    collector.close()


@pytest.mark.parametrize("broken", ["slow", "silent"])
async def test_what_is_under_way_is_cut_off_when_the_service_ends(server, broken):
    asked = asyncio.Event()

    async def answer(writer):
        asked.set()
        await getattr(server, broken)(writer)

    server.broken = answer
    collector = Collector(server.url, {}, timeout_s=30)
    sending = asyncio.create_task(sends(collector))
    await asked.wait()
    assert {thread.daemon for thread in under_way()} == {True}, "the end of the process does not wait for it"
    collector.close()
    with pytest.raises(Unreachable):
        await sending
    assert await all_over()
    with pytest.raises(Unreachable):
        await sends(collector)
    assert server.asked == 1


async def test_a_handshake_that_does_not_come_to_its_end_is_cut_off_too():
    hello = asyncio.Event()

    async def meet(reader, writer):
        await reader.readexactly(1)
        hello.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        collector = Collector(f"https://127.0.0.1:{port}", {}, timeout_s=30)
        sending = asyncio.create_task(sends(collector))
        await hello.wait()
        collector.close()
        with pytest.raises(Unreachable):
            await sending
        assert await all_over()


async def test_what_is_cut_off_before_it_is_connected_does_not_go_on(server):
    collector = Collector(server.url, {}, timeout_s=30)
    sending = asyncio.create_task(sends(collector))
    # As soon as it has begun, which is before its thread can have connected and been answered.
    asyncio.get_running_loop().call_soon(collector.close)
    with pytest.raises(Unreachable):
        await sending
    assert await all_over()
