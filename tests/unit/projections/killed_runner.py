"""A process that follows a log and is killed after a batch's rows are written, before they are committed.

    python killed_runner.py DATABASE live|rebuild together|apart

It kills itself in the batch KILLED_IN_BATCH: of the tables that are read, or of those that are built beside them.
"apart" is how it must not be done: rows and checkpoint each in a transaction of its own.
"""

import asyncio
import os
import signal
import sys

from podium.v1 import events_pb2
from service.projections import checkpoints, read_model
from service.projections import rebuild as rebuilding
from service.projections.generation import Generation
from service.projections.read_model import ReadModel
from service.projections.runner import ProjectionRunner
from tests.unit.projections.conftest import database_at
from tests.unit.projections.memory_log import LogClock, MemoryLog, next_epoch
from tests.unit.projections.tally import Tally

EVENTS = 30
BATCH_EVENTS = 10
KILLED_IN_BATCH = 2


def the_log():
    """The same log, byte for byte, in whatever process."""
    log = MemoryLog(BATCH_EVENTS)
    log.record("acme", "workflow-1", *(events_pb2.StepCanceled(step_id=f"step_{n}") for n in range(EVENTS)))
    return log


class ApartGeneration(Generation):
    async def _commit(self, events):
        before, after = self._checkpoint, self._checkpoint.after(events, events[-1])
        await self.write(lambda connection: self.projection.apply(connection, events))
        kill_if_it_is_time(self)
        await self.write(lambda connection: checkpoints.move(connection, "tally", self.number, before, after))
        self._checkpoint = after


class KilledTally(Tally):
    """Kills the process when it has written the rows of the batch."""

    def apply(self, connection, events):
        super().apply(connection, events)
        if sys.argv[3] == "together":
            kill_if_it_is_time(self)


batches = {}


def kill_if_it_is_time(of):
    batches[of] = batches.get(of, 0) + 1
    if batches[of] == KILLED_IN_BATCH and (sys.argv[2] == "live" or is_second(of)):
        os.kill(os.getpid(), signal.SIGKILL)


def is_second(of):
    """Whether it is about the generation that is built beside the first."""
    return (of.number if isinstance(of, Generation) else int(of.table.name.removeprefix("tally_"))) > 1


async def main(place):
    if sys.argv[3] == "apart":
        read_model.Generation = ApartGeneration
    rebuilding.BATCH_EVENTS = BATCH_EVENTS
    database = database_at(place)
    await database.open(next_epoch())
    log = the_log()
    runner = ProjectionRunner(ReadModel(KilledTally, database), log, LogClock(log))
    await runner.open()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run())
        await runner.wait_for(log.head, 30)
        await rebuilding.Rebuild(runner, log, tasks.create_task).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
