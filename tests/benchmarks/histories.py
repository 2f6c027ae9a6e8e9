"""Histories that a real service records for the benchmarks that need many of them."""

import asyncio
from contextlib import aclosing

import podium
from service.cli.bench.load import chain
from service.main import open_reader
from tests.benchmarks.rig import database, deployed


async def read_histories(url):
    """The recorded events of every workflow of a log that nobody serves, a list each."""
    async with open_reader(url) as log:
        names = await log.list_streams("wf_")
        return [await log.read_stream(*name) for name in names]


def ended_history(steps=10):
    """What was recorded of a workflow of sequential steps, from its start to its end."""
    with database("sqlite") as on:
        with deployed(on) as rig:
            rig.load("a", workflows=1, lanes=1, steps=steps)
        [history] = asyncio.run(read_histories(on.url))
    return history


def open_history(steps=2):
    """What was recorded of a workflow whose steps have ended and to which more may be added: an agent's, between two
    thoughts. Without the last event its last step runs.
    """
    with database("sqlite") as on:
        with deployed(on) as rig:
            rig.load("a", workflows=1, lanes=1, steps=1)
            asyncio.run(_run_open(rig, steps))
        [_, history] = sorted(asyncio.run(read_histories(on.url)), key=lambda history: history[0].position)
    return history


async def _run_open(rig, steps):
    request = chain("bench", steps)
    request.open = True
    async with podium.connect(rig.address, rig.token) as client:
        run = await client.start(request)
        ended = 0
        async with aclosing(client.watch(run.id)) as updates:
            async for update in updates:
                ended += update.kind == "step_succeeded"
                if ended == steps:
                    return
