"""Programs of the checkout as processes that are up at once: forks of one that has imported everything.

Each is a process of its own, with its own streams, environment and end; only its imports were made before. What is
different from a program that is started by its name: the kernel shows the command line and the first environment of
the process that was forked. Tests of those, and of programs that start others, start real ones.
"""

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[3]


def environment(**more):
    """What a process of a test needs to find the project, without anything that is set for the tests' own use."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PODIUM_")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")]), **more}


class ForkedProcess:
    """A running program, as `subprocess.Popen` has it, of which it has what tests use."""

    def __init__(self, module, *words, env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout, stderr):
        """Each stream is a file, PIPE or DEVNULL."""
        self.returncode = None
        self._waiting = threading.Lock()
        self._told, tell = os.pipe()
        theirs = [tell]
        self.stdin = self.stdout = None
        given = []
        for number, stream in enumerate((stdin, stdout, stderr)):
            if stream == subprocess.PIPE:
                ours, its = reversed(os.pipe()) if number == 0 else os.pipe()
                setattr(self, ("stdin", "stdout")[number], os.fdopen(ours, "wb" if number == 0 else "rb"))
                theirs.append(its)
            elif stream == subprocess.DEVNULL:
                its = os.open(os.devnull, os.O_RDWR)
                theirs.append(its)
            else:
                its = stream.fileno()
            given.append(its)
        order = {"module": module, "words": [str(word) for word in words], "variables": env, "directory": str(cwd)}
        socket.send_fds(_server(), [json.dumps(order).encode()], [*given, tell])
        for descriptor in theirs:
            os.close(descriptor)
        self._told = os.fdopen(self._told, "rb", buffering=0)
        self.pid = int(self._told.readline())

    def send_signal(self, number):
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Ends it as a power cut would."""
        self.send_signal(signal.SIGKILL)

    def poll(self):
        """Its exit code, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout=None):
        """Waits until it has ended, so many seconds at most if they are given, and returns its exit code."""
        with self._waiting:
            if self.returncode is None:
                if not select.select([self._told], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(str(self.pid), timeout)
                self.returncode = int(self._told.readline())
                self._told.close()
            return self.returncode


@functools.cache
def _server():
    """The socket of this process's fork server, which ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.integration.rig.fork_server", str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env=environment(),
            pass_fds=[theirs.fileno()],
        )

    def end():
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
