"""An executor of the SDK for the soak: `python -m` this module ADDRESS TOKEN NAME, until SIGTERM."""

import asyncio
import random
import signal
import sys

import podium
from tests.faults.pauses import pass_time

PARALLEL = 64
SLOW_S = 0.05
FAILS = 0.4
"""The part of the calls of moody and wary that fails."""
FAILS_SELDOM = 0.1


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

    @app.tool(read_only=True)
    async def known(value: int) -> int:
        """Return the value after a while, which is cached by the policy; a tenth of the calls fails."""
        await pass_time(SLOW_S)
        fail_at(FAILS_SELDOM)
        return value

    @app.tool(read_only=True)
    async def moody(value: int) -> int:
        """Return the value, or fail."""
        fail_at(FAILS)
        return value

    @app.tool(idempotent=True)
    async def wary(value: int) -> int:
        """Return the value after a moment, or fail."""
        await pass_time(SLOW_S / 5)
        fail_at(FAILS)
        return value

    return app


def fail_at(rate):
    """Fails that part of the calls."""
    if random.random() < rate:
        raise ConnectionError("the tool does not feel like it")


async def serve(address, token, name):
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with podium.connect(address, token, serve=tools(name)):
        await over.wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
