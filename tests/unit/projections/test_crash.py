"""A process that dies in the middle of a batch: the next one has every event exactly once, live and in a rebuild."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from service.projections.rebuild import Rebuild
from tests.architecture.checkout import ROOT
from tests.unit.projections import killed_runner, stopped_runner
from tests.unit.projections.tally import tallied, tally

EVERY_POSITION = list(range(1, killed_runner.EVENTS + 1))
TWICE = killed_runner.EVENTS + killed_runner.BATCH_EVENTS


@pytest.fixture
def killed(place):
    """Runs a projection in another process that kills itself between the rows of a batch and their commit."""

    async def run(in_what, how):
        paths = os.pathsep.join([str(ROOT), str(ROOT / "clients/python")])
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, killed_runner.__file__, place, in_what, how],
            env={**os.environ, "PYTHONPATH": paths},
            check=False,
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL

    return run


@pytest.fixture
def stopped(postgres_url):
    """Starts a projection in another process that stands still in an open transaction; returns it once it does."""
    process = subprocess.Popen(
        [sys.executable, stopped_runner.__file__, postgres_url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients/python")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    yield process
    process.kill()
    process.communicate()


async def positions_after_restart(following):
    async with following(tally(), killed_runner.the_log()) as runner:
        return await tallied(runner)


async def positions_after_the_rebuild_went_on(following):
    log = killed_runner.the_log()
    async with following(tally(), log) as runner, asyncio.TaskGroup() as tasks:
        assert await tallied(runner) == EVERY_POSITION
        rebuild = Rebuild(runner, log, spawn=None)
        tasks.create_task(rebuild.run())
        began_at = [progress.position async for progress in rebuild.progress()]
        # The first word comes before the tables are looked at.
        assert min(position for position in began_at if position) > killed_runner.BATCH_EVENTS
        assert runner.model.served.number == 2
        return await tallied(runner)


async def test_rows_and_checkpoint_survive_a_kill_together(killed, following):
    await killed("live", "together")
    assert await positions_after_restart(following) == EVERY_POSITION


async def test_negative_control_a_checkpoint_that_commits_apart_counts_a_batch_twice(killed, following):
    await killed("live", "apart")
    assert len(await positions_after_restart(following)) == TWICE


async def test_a_rebuild_that_was_killed_goes_on_where_it_was(killed, following):
    await killed("rebuild", "together")
    assert await positions_after_the_rebuild_went_on(following) == EVERY_POSITION


async def test_negative_control_a_rebuild_whose_checkpoint_commits_apart_counts_a_batch_twice(killed, following):
    await killed("rebuild", "apart")
    assert len(await positions_after_the_rebuild_went_on(following)) == TWICE


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
async def test_a_process_that_stood_still_while_another_took_over_writes_no_more(stopped, following):
    async with following(tally(), killed_runner.the_log()) as runner:
        # The server ended the transaction in which the first process stands, and its batch was undone.
        assert await tallied(runner) == EVERY_POSITION
        stopped.send_signal(signal.SIGCONT)
        told, _ = await asyncio.to_thread(stopped.communicate, timeout=60)
        assert told.startswith("failed 10 DatabaseFencedError: another process has taken over")
        assert await tallied(runner) == EVERY_POSITION
