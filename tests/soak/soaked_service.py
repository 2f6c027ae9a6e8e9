"""The service that is soaked: the real one, which writes down ten times a second what it holds.

With SOAK_LEAKS, the negative control, calls leave behind what it names: memory, files, tasks, places, permits.
"""

import asyncio
import itertools
import json
import os
import sys
import traceback
from pathlib import Path

from service.admission.breaker import BreakerGuard
from service.admission.bulkhead import BulkheadGuard
from service.api.handlers import EdgeInterceptor
from service.assembly import Service
from service.config import load_settings
from service.engine.dispatch import Dispatcher
from service.main import serve
from tests.faults.pauses import pass_time
from tests.soak.holdings import holdings

INTERVAL_S = 0.1
LEAKED_BYTES = 131_072
FORGETS_ONE_IN = 3
ONE_IN = 10
"""So seldom a descriptor, a task or a place is leaked: it is to be found by its rest, not by its end."""

soaked = []
leaked = []


async def write_holdings(path):
    """Writes a line at a time over the last, so that it is read whole."""
    beside = path.with_suffix(".next")
    try:
        while True:
            beside.write_text(json.dumps(holdings(soaked[0])))
            beside.replace(path)
            await pass_time(INTERVAL_S)
    except Exception:  # noqa: BLE001 - its last line would be taken for what is held until the end
        traceback.print_exc()
        os.abort()


def announce(running):
    sys.stdout.write(json.dumps({"address": running.address, "pid": running.pid}) + "\n")
    sys.stdout.flush()
    leaked.append(asyncio.get_running_loop().create_task(write_holdings(Path(os.environ["SOAK_HOLDINGS"]))))


def watch_service():
    """Remembers the service that is put together."""
    start = Service.start

    async def starting(self, *arguments):
        soaked.append(self)
        await start(self, *arguments)

    Service.start = starting


def plant(kinds):
    """Lets the service leak what is named."""
    calls = itertools.count(1)
    ending = EdgeInterceptor._ending  # noqa: SLF001 - the negative control
    give_back = Dispatcher.give_back

    def leaking(self, method, behaviour):
        inner = ending(self, method, behaviour)

        async def end(request, context):
            if "memory" in kinds:
                leaked.append(os.urandom(LEAKED_BYTES))
            if next(calls) % ONE_IN == 0:
                leak(kinds)
            return await inner(request, context)

        return end

    def forgetting(self, executor):
        if "places" not in kinds or next(calls) % ONE_IN:
            give_back(self, executor)

    if "permits" in kinds:
        for guard in (BreakerGuard, BulkheadGuard):
            forget_ends(guard)
    Dispatcher.give_back = forgetting
    EdgeInterceptor._ending = leaking  # noqa: SLF001 - the negative control


def forget_ends(guard):
    """The guard is never told of the ends of some steps, however often they are told."""
    ended = guard.ended

    def hearing(self, end):
        if hash(end.step) % FORGETS_ONE_IN:
            ended(self, end)

    guard.ended = hearing


def leak(kinds):
    if "files" in kinds:
        leaked.append(os.open(os.devnull, os.O_RDONLY))
    if "tasks" in kinds:
        leaked.append(asyncio.get_running_loop().create_task(asyncio.Event().wait()))


def main():
    watch_service()
    if kinds := os.environ.get("SOAK_LEAKS"):
        plant(kinds.split(","))
    serve(load_settings(), on_ready=announce)


if __name__ == "__main__":
    main()
