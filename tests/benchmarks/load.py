"""The load of a benchmark, in a process of its own: `python -m tests.benchmarks.load ADDRESS TOKEN PARENT`.

Each line of JSON on standard input names a load and its sizes; its round is a line of JSON back. The loads are those
of `podium bench`, and `echo`.
"""

import asyncio
import json
import sys
from dataclasses import asdict

from podium.connecting import opened
from service.cli.bench.measures import MEASURES
from service.cli.bench.target import Target
from service.cli.child_processes import end_with
from tests.benchmarks.echo import call_echo


async def main(address, token, parent):
    """Serve loads until standard input ends."""
    end_with(int(parent))
    async with opened(address, token, tls=None) as connection:
        target = Target(connection)
        await connection.reach()
        print("{}", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            load = call_echo if asked["load"] == "echo" else MEASURES[asked["load"]].round
            print(json.dumps(asdict(await load(target, **asked["sizes"]))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
