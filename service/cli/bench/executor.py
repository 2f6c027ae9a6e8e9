"""The tools that `podium bench` calls: one that does nothing, and one that streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import podium
from service.cli.bench.target import CHUNK_BYTES, STAMP_BYTES
from service.clock import SystemClock, SystemRandomness

_BLOCKS = 16

app = podium.Executor("podium_bench", max_parallel=1000)

# Nothing on the way can make it smaller.
_random = SystemRandomness().bytes(_BLOCKS * CHUNK_BYTES)


@app.tool(read_only=True)
async def podium_bench_noop(n: int) -> dict[str, int]:
    """Do nothing."""
    return {"n": n}


@app.tool(read_only=True)
async def podium_bench_stream(chunks: int) -> AsyncGenerator[bytes | podium.Output, None]:
    """Stream pieces of 64 KiB. The first begins with the time, so that whoever watches knows how long it took."""
    yield SystemClock().now_us().to_bytes(STAMP_BYTES) + _random[STAMP_BYTES:CHUNK_BYTES]
    for number in range(1, chunks):
        start = number % _BLOCKS * CHUNK_BYTES
        yield _random[start : start + CHUNK_BYTES]
    yield podium.Output(chunks)
