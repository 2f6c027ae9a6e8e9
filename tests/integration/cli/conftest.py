"""The `podium` command as a program of its own, and what it prints."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import pytest

from tests.integration.rig.forked_process import ROOT, ForkedProcess, environment

COMMAND = (sys.executable, "-P", "-m", "service.cli")
ENDS_WITHIN_S = 60


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON value that it printed."""
        return json.loads(self.out)

    @property
    def lines(self):
        """The JSON Lines that it printed."""
        return [json.loads(line) for line in self.out.splitlines()]


class Program:
    """A command that runs."""

    def __init__(self, *words, errors=subprocess.DEVNULL, **variables):
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(**variables),
        )

    def says(self):
        """Its next line on standard output."""
        return self.process.stdout.readline()

    def end(self, number=signal.SIGTERM):
        """Sends it a signal, and returns the code with which it ends."""
        self.process.send_signal(number)
        return self.process.wait(ENDS_WITHIN_S)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        for stream in filter(None, (self.process.stdout, self.process.stderr)):
            stream.close()


@pytest.fixture(scope="session")
def podium_command():
    """Runs a command to its end: `podium_command("tools", "list", PODIUM_TOKEN=...)`."""

    def run(*words, cwd=None, given="", **variables):
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            stdin.write(given.encode())
            stdin.seek(0)
            where = {"cwd": cwd or ROOT, "env": environment(**variables)}
            ended = ForkedProcess("service.cli", *words, stdin=stdin, stdout=out, stderr=err, **where)
            try:
                code = ended.wait(ENDS_WITHIN_S)
            finally:
                ended.kill()
            out.seek(0)
            err.seek(0)
            finished = Finished(code, out.read().decode(), err.read().decode())
        assert "Traceback" not in finished.err
        return finished

    return run


@pytest.fixture
def program():
    """Starts commands that go on until the test ends: `program("dev", "--json")`."""
    started = []

    def start(*words, **variables):
        started.append(Program(*map(str, words), **variables))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="session")
def examples():
    return ROOT / "clients" / "python" / "examples"


class Processes:
    """Processes that are no children of ours, and whether they have ended."""

    def __init__(self, pids):
        self._descriptors = {pid: os.pidfd_open(pid) for pid in pids}

    def end_within(self, seconds):
        """Waits until all have ended, and returns those that have not."""
        left = dict(self._descriptors)
        for pid, descriptor in self._descriptors.items():
            if select.select([descriptor], [], [], seconds)[0]:
                left.pop(pid)
            os.close(descriptor)
        return list(left)


@pytest.fixture
def processes():
    return Processes
