"""The least that a call over gRPC costs here: a bare grpc.aio server that answers with the request.

`python -m tests.benchmarks.echo PARENT` prints a line of JSON with its address and serves until SIGTERM.
"""

import asyncio
import json
import signal
import sys

import grpc
import uvloop

from service.cli.bench.load import closed_loop
from service.cli.bench.target import Round
from service.cli.child_processes import end_with

METHOD = "/bench.Echo/Echo"


async def serve(parent):
    """Answer until SIGTERM."""
    end_with(int(parent))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def echo(request, context):
        return request

    server = grpc.aio.server()
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
    await stop.wait()
    await server.stop(0)


async def call_echo(target, *, address, calls=200):
    """As the load of (d), on the bare server."""
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        seconds, latencies_ms, _ = await closed_loop(target, channel.unary_unary(METHOD), bytes(100), calls, 1)
    return Round(seconds, latencies_ms=latencies_ms)


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
