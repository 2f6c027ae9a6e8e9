"""The processes of a fault test: the service, killed and started again on one file, and executors that survive it.

A test ends only what it started, by its process id; what is left ends with the test's end of its pipes.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys

from service.main import mint_token
from tests.architecture.checkout import ROOT
from tests.faults.fault_points import settings_for
from tests.faults.ledger import Ledger, read_ledger
from tests.ports import free_port

WITHIN_S = 20.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients/python")])}


class LineReader:
    """What a process tells, line by line, and whoever waits for one of the lines."""

    def __init__(self, stream):
        self.told = []
        self._stream = stream
        self._news = asyncio.Condition()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self):
        while line := await self._stream.readline():
            async with self._news:
                self.told.append(json.loads(line))
                self._news.notify_all()

    async def until(self, wanted, *, after=0, within_s=WITHIN_S):
        """The first entry that is wanted, of those that come after so many."""
        async with asyncio.timeout(within_s), self._news:
            while True:
                for entry in self.told[after:]:
                    if wanted(entry):
                        return entry
                after = len(self.told)
                await self._news.wait()

    async def close(self):
        self._reading.cancel()
        await asyncio.wait([self._reading])


@contextlib.asynccontextmanager
async def program(module, *arguments, errors):
    """A program of this folder, with pipes; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.faults.{module}",
        *map(str, arguments),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
    )
    reader = LineReader(process.stdout)
    try:
        yield process, reader
    finally:
        await end(process)
        await reader.close()


async def end(process):
    """Let a process end by itself, or else end it."""
    process.stdin.close()
    try:
        async with asyncio.timeout(WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


class Battlefield:
    """A service on one file, its executors, and the ledgers of both."""

    def __init__(self, directory, stack):
        self.directory = directory
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.token = mint_token(settings_for(directory), subject="tester", roles=("admin",))
        self.service_pid = 0
        self._stack = stack
        self._errors = stack.enter_context((directory / "stderr.log").open("ab"))
        self._launcher = None
        self._told = None

    @property
    def database(self):
        return self.directory / "podium.db"

    @property
    def kills(self):
        return read_ledger(self.directory / "kills.ledger")

    def ledger(self, name):
        return self.directory / f"{name}.ledger"

    def complaints(self):
        """What the processes wrote on stderr, for the message of a failed test."""
        return (self.directory / "stderr.log").read_text()[-4000:]

    async def begin(self, *, window="", nth=1, armed=False, writer="honest", port=None, grace_ms=3000, fencing=True):
        """Order a service; with a window it kills itself there, once armed. Returns when it has been forked."""
        if self._launcher is None:
            launched = program("service_launcher", errors=self._errors)
            self._launcher, self._told = await self._stack.enter_async_context(launched)
        order = {"directory": str(self.directory), "port": port or self.port, "window": window, "nth": nth}
        mark = len(self._told.told)
        line = json.dumps({**order, "armed": armed, "writer": writer, "grace_ms": grace_ms, "fencing": fencing})
        self._launcher.stdin.write(f"{line}\n".encode())
        forked = await self._told.until(lambda entry: entry["what"] == "forked", after=mark)
        self.service_pid = forked["pid"]

    async def start(self, **order):
        """Order a service and wait until it serves."""
        await self.begin(**order)
        return await self.told("ready")

    async def told(self, what):
        """Wait for what the newest service tells; "failed" and "exited" are told in place of what does not come."""
        pid = self.service_pid

        def wanted(entry):
            return entry["pid"] == pid and entry["what"] in (what, "exited")

        entry = await self._told.until(wanted)
        assert entry["what"] == what, f"{entry}\n{self.complaints()}"
        return entry

    async def failed(self):
        """Wait until the newest service has said why it cannot serve, and ended. Returns both entries."""
        return await self.told("failed"), await self.told("exited")

    def signal(self, number):
        os.kill(self.service_pid, number)

    def arm(self):
        self.signal(signal.SIGUSR1)

    async def exited(self):
        return (await self.told("exited"))["status"]

    async def kill(self):
        """A SIGKILL from outside."""
        self.signal(signal.SIGKILL)
        assert await self.exited() == -signal.SIGKILL

    async def executor(self, name="first"):
        """An executor of its own process."""
        running = program("ledger_executor", self.address, self.token, self.ledger("tools"), name, errors=self._errors)
        process, lines = await self._stack.enter_async_context(running)
        return ExecutorProcess(process, lines)

    def client_ledger(self):
        ledger = Ledger(self.ledger("client"))
        self._stack.callback(ledger.close)
        return ledger


class ExecutorProcess:
    """An executor, as its test sees it."""

    def __init__(self, process, lines):
        self.pid = process.pid
        self.lines = lines
        self._process = process

    def signal(self, number):
        self._process.send_signal(number)

    def release(self):
        """Let go of the tools that hold on."""
        self.signal(signal.SIGUSR1)

    async def kill(self):
        self._process.kill()
        await self._process.wait()

    @property
    def mark(self):
        """How much it has told so far; what it tells from now on comes after it."""
        return len(self.lines.told)

    async def until(self, event, *, after=0, since=None, **wanted):
        """Wait for an entry of its ledger, after a mark or since another entry."""
        expected = {"event": event, **wanted}.items()
        since_ns = since["at_ns"] if since else 0
        return await self.lines.until(
            lambda entry: expected <= entry.items() and entry["at_ns"] > since_ns, after=after
        )


@contextlib.asynccontextmanager
async def battlefield(directory):
    async with contextlib.AsyncExitStack() as stack:
        yield Battlefield(directory, stack)
