"""An executor of the SDK for the soak: `python -m` this module ADDRESS TOKEN NAME, until SIGTERM."""

import asyncio
import signal
import sys

import podium
from tests.faults.pauses import pass_time

PARALLEL = 64
SLOW_S = 0.05


def tools(name):
    app = podium.Executor(name, max_parallel=PARALLEL)

    @app.tool(read_only=True)
    async def quick(value: int) -> int:
        """Return the value."""
        return value

    @app.tool(idempotent=True)
    async def slow(value: int) -> int:
        """Return the value after a while."""
        await pass_time(SLOW_S)
        return value

    return app


async def serve(address, token, name):
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with podium.connect(address, token, serve=tools(name)):
        await over.wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
