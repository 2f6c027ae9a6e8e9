"""DBOS: workflows and steps as functions of this process, each recorded in its database.

dbos_peer.py DATABASE-URL WORKFLOWS
"""

import asyncio
import os
import sys

import workload
from dbos import DBOS, DBOSConfig


@DBOS.step()
async def step(i: int) -> dict:
    """Do nothing."""
    return {"i": i, "ok": True}


@DBOS.workflow()
async def chain(steps: int) -> dict:
    """Run steps one after the other."""
    output = {}
    for i in range(steps):
        output = await step(i)
    return output


@DBOS.workflow()
async def fan(steps: int) -> int:
    """Run steps side by side."""
    return len(await asyncio.gather(*[step(i) for i in range(steps)]))


async def run(workflows, database_pid):
    """Give it the work, in the process of which the library is a part."""

    async def run_fan():
        assert await fan(workload.FAN_OUT) == workload.FAN_OUT

    return await workload.measure(
        lambda: chain(workload.STEPS), run_fan, lambda: workload.library_cpu_s(database_pid), workflows
    )


def main(url, workflows, database_pid=None):
    """Launch, measure, and leave without waiting for what the library polls."""
    config: DBOSConfig = {"name": "bench", "system_database_url": url, "log_level": "ERROR"}
    DBOS(config=config)
    DBOS.launch()
    workload.tell(asyncio.run(run(int(workflows), database_pid)))
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
