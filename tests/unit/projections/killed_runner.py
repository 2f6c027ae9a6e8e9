"""A process that follows a log and is killed after a batch's rows are written, before its checkpoint is.

    python killed_runner.py DATABASE together|apart

"apart" is how it must not be done: rows and checkpoint each in a transaction of its own.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from sqlalchemy import Engine, event

from podium.v1 import events_pb2
from service.projections import checkpoints
from service.projections.database import ProjectionsDatabase
from service.projections.runner import ProjectionRunner
from tests.unit.projections.memory_log import MemoryLog
from tests.unit.projections.tally import Tally

EVENTS = 30
BATCH_EVENTS = 10
KILLED_IN_BATCH = 2


def the_log():
    """The same log, byte for byte, in whatever process."""
    log = MemoryLog(BATCH_EVENTS)
    log.record("acme", "workflow-1", *(events_pb2.StepCanceled(step_id=f"step_{n}") for n in range(EVENTS)))
    return log


class ApartRunner(ProjectionRunner):
    async def _commit(self, events):
        checkpoint = self._checkpoint.after(events, events[-1])
        await self._database.write(lambda connection: self._projection.apply(connection, events))
        await self._database.write(lambda connection: checkpoints.move(connection, self._projection, checkpoint))
        self._checkpoint = checkpoint


def kill_at_the_checkpoint():
    moves = 0

    @event.listens_for(Engine, "before_cursor_execute")
    def look(connection, cursor, statement, parameters, context, executemany):
        nonlocal moves
        moves += statement.startswith("UPDATE checkpoints")
        if moves == KILLED_IN_BATCH:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(path, runner_class):
    database = ProjectionsDatabase(path)
    await database.open()
    runner = runner_class(Tally(), database, the_log())
    await runner.open()
    kill_at_the_checkpoint()
    await runner.run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), {"together": ProjectionRunner, "apart": ApartRunner}[sys.argv[2]]))
