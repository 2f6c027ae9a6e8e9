"""Runs the agent's program in a process of its own, with the two modules it imports and a development server's file."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import pytest

from tests.integration.rig.forked_process import environment

HERE = Path(__file__).parent
PROGRAM = (HERE / "program.py").read_text()


class Agent:
    """The surroundings of the program: its script, what the model was asked, what the bank did."""

    def __init__(self, directory, service, tenant):
        self._directory = directory
        self._service = service
        self._tenant = tenant
        self._processes = []
        self.ledger_file = directory / "ledger"
        self.ledger_file.touch()
        self.dev_file = directory / "podium-dev.json"

    async def start(self, script, *, program=PROGRAM, roles=("admin",), hold=False):
        """Starts the program with a script for the model."""
        number = len(self._processes)
        file, told = self._directory / f"program-{number}.py", self._directory / f"script-{number}.json"
        file.write_text(program)
        told.write_text(json.dumps(script))
        self._write_dev_file(roles)
        variables = environment(
            PODIUM_DEV_FILE=str(self.dev_file),
            AGENT_SCRIPT=str(told),
            AGENT_REQUESTS=str(self._directory / f"requests-{number}"),
            SHOP_LEDGER=str(self.ledger_file),
            SHOP_HOLD="1" if hold else "",
        )
        variables["PYTHONPATH"] += f":{HERE / 'stubs'}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(file),
            env=variables,
            cwd=self._directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._processes.append(process)
        return process

    def _write_dev_file(self, roles):
        """As `podium dev` leaves it: for its user alone."""
        token = self._service.token("dev", tenant=self._tenant, roles=roles, on_behalf_of="ana")
        self.dev_file.touch(mode=0o600)
        self.dev_file.write_text(json.dumps({"address": self._service.address, "token": token}))

    async def run(self, script, **settings):
        """Runs the program to its end and returns what it printed."""
        process = await self.start(script, **settings)
        return await self.printed(process)

    async def printed(self, process):
        """Waits for a program's end and returns what it printed."""
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode()

    async def kill_when(self, process, words):
        """Ends a program as a power cut would, as soon as it has said this on standard error."""
        async with asyncio.timeout(60):
            while line := await process.stderr.readline():
                if line.decode().strip() == words:
                    break
        process.kill()
        await process.communicate()

    def requests(self, number=0):
        """What the model was asked by the program of that number, in order."""
        file = self._directory / f"requests-{number}"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def ledger(self, what):
        """What the bank noted, in order."""
        entries = [json.loads(line) for line in self.ledger_file.read_text().splitlines()]
        return [entry for entry in entries if entry["what"] == what]

    async def close(self):
        """Ends what still runs."""
        for process in self._processes:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.communicate()


@pytest.fixture
async def agent(tmp_path, service, tenant):
    surroundings = Agent(tmp_path, service, tenant)
    yield surroundings
    await surroundings.close()
