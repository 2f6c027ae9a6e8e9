"""A process that stands still in the middle of a batch, in an open transaction, until somebody lets it go on.

    python stopped_runner.py DATABASE

Then it goes on as if nothing had happened, and prints what becomes of its projection.
"""

import asyncio
import os
import signal
import sys

from service.projections.read_model import ReadModel
from service.projections.runner import ProjectionRunner
from tests.unit.projections.conftest import database_at
from tests.unit.projections.killed_runner import the_log
from tests.unit.projections.memory_log import LogClock, next_epoch
from tests.unit.projections.tally import Tally

STOPPED_AFTER = 20


class StoppedTally(Tally):
    def apply(self, connection, events):
        super().apply(connection, events)
        if events[-1].position == STOPPED_AFTER:
            os.kill(os.getpid(), signal.SIGSTOP)


async def main(place):
    database = database_at(place)
    await database.open(next_epoch())
    log = the_log()
    runner = ProjectionRunner(ReadModel(StoppedTally, database), log, LogClock(log))
    await runner.open()
    await runner.run()
    print(runner.state, runner.position, runner.problem)  # noqa: T201 - its word to the test
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
