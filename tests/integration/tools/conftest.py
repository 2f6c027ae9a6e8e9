"""The built-in tools as users have them: `podium builtin serve`, a process of its own, on a real service.

Those of `serve` are forks, and so are up at once. Those of `serve_program` are started by their name, for tests of what
the kernel has of a program: its environment, and the processes that it starts.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from tests.integration.rig.forked_process import ForkedProcess, environment

COMMAND = (sys.executable, "-P", "-m")
PIPES = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
ENDS_WITHIN_S = 60


class BuiltinProcess:
    """The process that serves built-in tools for a test."""

    def __init__(self, run, file, address, token, log, **variables):
        words = ("service.cli", "builtin", "serve", str(file), "--json", "--allow-root", "--address", address)
        with (log or Path(os.devnull)).open("wb") as errors:
            self.process = run(*words, stderr=errors, env=environment(PODIUM_TOKEN=token, **variables))
        line = self.process.stdout.readline()
        assert line, log and log.read_text()
        self.ready = json.loads(line)
        self.pid = self.ready["pid"]

    def limits(self):
        """The kernel's word on what the process may use: soft and hard limits by name."""
        rows = Path(f"/proc/{self.pid}/limits").read_text().splitlines()[1:]
        return {row[:26].strip(): tuple(row[26:].split()[:2]) for row in rows}

    def children(self):
        """Everything that runs below it."""
        found, left = set(), [self.pid]
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
        while left:
            parent = left.pop()
            below = {child for child, its in parents.items() if its == parent}
            found |= below
            left += below
        return found

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(ENDS_WITHIN_S)
        self.process.stdout.close()
        return code


class Ground:
    """A folder with something in it that may be touched, and something beside it that may not."""

    def __init__(self, folder):
        folder.chmod(0o755)
        self.folder = folder
        for name in ("data", "out", "work"):
            (folder / name).mkdir()
        (folder / "data" / "greeting.txt").write_text("hello\nworld\n")
        (folder / "secret.txt").write_text("the secret beside it\n")
        (folder / "data" / "link.txt").symlink_to(folder / "secret.txt")
        (folder / "data" / "door").symlink_to(folder)
        with sqlite3.connect(folder / "shop.db") as database:
            database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, cents INTEGER)")
            database.executemany(
                "INSERT INTO items (name, cents) VALUES (?, ?)", [(f"item {n}", 100 * n) for n in range(1, 301)]
            )
        database.close()

    def file(self, **content):
        """A file that configures tools; JSON is YAML too."""
        path = self.folder / "podium-tools.yaml"
        path.write_text(json.dumps(content))
        return path


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path)


@pytest.fixture
def serve_by(service, tenant, tmp_path):
    """Serves built-in tools until the test ends, with what runs a module."""
    started = []

    def start(run, file, *, to=None, logged=True, **variables):
        at = to or service
        token = at.token("builtin", roles=["executor"], tenant=tenant)
        log = tmp_path / f"builtin-{len(started)}.log" if logged else None
        started.append(BuiltinProcess(run, file, at.address, token, log, **variables))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.end()


@pytest.fixture
def serve(serve_by):
    """Serves built-in tools until the test ends: `serve(ground.file(tools=[...]))`."""
    return partial(serve_by, partial(ForkedProcess, **PIPES))


@pytest.fixture
def serve_program(serve_by):
    """As `serve`, by a program that is started as its users start it."""
    return partial(serve_by, lambda *words, **more: subprocess.Popen([*COMMAND, *words], **PIPES, **more))


@pytest.fixture
async def client(connect):
    return await connect()


@pytest.fixture
def is_alone():
    """Whether no process is left that was given a word as an argument."""

    def look(argument):
        found = []
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if argument.encode() in line.read_bytes() and int(line.parent.name) != os.getpid():
                    found.append(int(line.parent.name))
            except OSError:
                continue
        return not found

    return look


@pytest.fixture
def script():
    """Programs that a test writes, where whoever runs commands for root can reach them."""
    with tempfile.TemporaryDirectory(prefix="podium-programs-") as folder:
        Path(folder).chmod(0o755)

        def program(name, text):
            path = Path(folder, name)
            path.write_text(f"#!/bin/sh\n{text}")
            path.chmod(0o755)
            return {"path": str(path), "arguments": ["[a-z0-9-]+"]}

        yield program
