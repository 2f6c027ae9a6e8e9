"""What every peer is given to do, and the line of JSON in which it tells what came of it.

Imported by the peers' programs, each in an environment of its own: the standard library alone.
"""

import asyncio
import contextlib
import json
import os
import statistics
import time
from pathlib import Path

STEPS = 10
AT_ONCE = 50
FAN_OUT = 100
ALONE = 50
"""Workflows that run one at a time."""
FANS = 5


async def measure(run_chain, run_fan, cpu_s, workflows):
    """Give a peer the three kinds of work, and return its figures.

    Args:
        run_chain: Runs one workflow of 10 sequential steps that do nothing, durably.
        run_fan: Runs one workflow of 100 parallel steps; None: the peer is not measured at that.
        cpu_s: Seconds of CPU that each part of the peer has used so far, by its name.
        workflows: How many run 50 at once; enough for some seconds.
    """
    await _at_once(run_chain, AT_ONCE)
    before = cpu_s()
    took_s = await _at_once(run_chain, workflows)
    steps = workflows * STEPS
    used = {part: (after - before[part]) / steps * 1e6 for part, after in cpu_s().items()}
    return {
        "steps_per_s": steps / took_s,
        "cpu_us_per_step": used,
        "ten_steps_p50_ms": await _median_ms(run_chain, ALONE),
        "fan_out_p50_ms": None if run_fan is None else await _median_ms(run_fan, FANS),
    }


async def _at_once(run_chain, workflows):
    places = asyncio.Semaphore(AT_ONCE)

    async def run():
        async with places:
            await run_chain()

    started = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(workflows)))
    return time.perf_counter() - started


async def _median_ms(run, times):
    took = []
    for _ in range(times):
        started = time.perf_counter()
        await run()
        took.append((time.perf_counter() - started) * 1e3)
    return statistics.median(took)


def family_cpu_s(pid):
    """Seconds of CPU of a process, of the children it has, and of those it had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used = sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            used += family_cpu_s(child)
    return used


def library_cpu_s(database_pid=None):
    """CPU so far of a peer that is a library of this process, and of the database server it uses, if any."""
    server = {} if database_pid is None else {"database": family_cpu_s(database_pid)}
    return {"process": time.process_time(), **server}


def tell(figures):
    """Print the figures, as the last line."""
    print(json.dumps(figures), flush=True)
