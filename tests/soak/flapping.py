"""Processes of executors, which are killed and started again while the service is soaked."""

import asyncio
import signal
import subprocess

from tests.faults.pauses import pass_time
from tests.integration.rig.forked_process import ForkedProcess, environment

WELL_BEHAVED = "tests.soak.soaking_executor"
ODD = "tests.soak.odd_executor"


class Flapping:
    """A process of an executor, which is killed every so often."""

    def __init__(self, address, token, name, log, program=WELL_BEHAVED):
        self._program = program
        self._words = (address, token, name)
        self._log = log
        self.kills = 0
        self._process = None

    def start(self):
        self._process = ForkedProcess(
            self._program, *self._words, env=environment(), stdout=subprocess.DEVNULL, stderr=self._log
        )

    async def flap(self, every_s):
        """Until it is cancelled."""
        while True:
            await pass_time(every_s)
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self.kills += 1
            self.start()

    async def stop(self):
        self._process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self._process.wait)
