"""A process that dies between a batch's rows and its checkpoint: the next one applies every event exactly once."""

import os
import signal
import subprocess
import sys

import pytest

from tests.architecture.checkout import ROOT
from tests.unit.projections import killed_runner
from tests.unit.projections.tally import Tally


@pytest.fixture
def killed(path):
    """Runs a projection in another process that kills itself between the rows and the checkpoint of a batch."""

    def run(how):
        paths = os.pathsep.join([str(ROOT), str(ROOT / "clients/python")])
        done = subprocess.run(
            [sys.executable, killed_runner.__file__, str(path), how],
            env={**os.environ, "PYTHONPATH": paths},
            check=False,
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL

    return run


async def positions_after_restart(database, following):
    tally = Tally()
    async with following(tally, killed_runner.the_log()):
        return await tally.positions(database)


async def test_rows_and_checkpoint_survive_a_kill_together(killed, database, following):
    killed("together")
    every_position = list(range(1, killed_runner.EVENTS + 1))
    assert await positions_after_restart(database, following) == every_position


async def test_negative_control_a_checkpoint_that_commits_apart_counts_a_batch_twice(killed, database, following):
    killed("apart")
    positions = await positions_after_restart(database, following)
    assert len(positions) == killed_runner.EVENTS + killed_runner.BATCH_EVENTS
