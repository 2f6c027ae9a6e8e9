"""A program whose forks are the programs that tests run: what all of them import is imported once, not at each start.

It takes orders on the socket whose descriptor is its argument: a JSON text of `module`, `words`, `variables` and
`directory`, with four descriptors. Three become the program's standard input, output and error; on the fourth its
process id is told and, when it has ended, its exit code. It ends when nobody holds the other end of the socket.

Invariant: nothing is running here but this loop. No thread, no channel, no server: what is forked would lack it. gRPC
is imported and begins nothing before its first channel or server; it is what has begun that must not be forked.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path

IMPORTED_AHEAD = (
    "alembic.command",
    "podium",
    "service.cli.connecting",
    "service.cli.main",
    "service.main",
    "service.tools.serving",
)
ORDER_BYTES = 1 << 17
DESCRIPTORS = 4


class ForkServer:
    """Forks, and tells how the forks end."""

    def __init__(self, orders):
        self._orders = orders
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._tells = {}

    def run(self):
        """Serves until nobody can order any more. Returns what was ordered in a fork, and nothing in this process."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        while True:
            readable, _, _ = select.select([self._orders, self._woken], [], [])
            if self._woken in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                self._tell_of_the_ended()
            if self._orders not in readable:
                continue
            text, given, _, _ = socket.recv_fds(self._orders, ORDER_BYTES, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
            if not text:
                return None
            *streams, tell = given
            pid = os.fork()
            if not pid:
                self._leave(streams)
                return json.loads(text)
            for stream in streams:
                os.close(stream)
            self._tells[pid] = tell
            self._tell(tell, pid)

    def _leave(self, streams):
        """Makes a fork a program of its own: it has its own streams and nothing of the server's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        for descriptor in (self._woken, self._wake, *self._tells.values()):
            os.close(descriptor)
        self._orders.close()

    def _tell_of_the_ended(self):
        while self._tells:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            tell = self._tells.pop(pid)
            self._tell(tell, os.waitstatus_to_exitcode(status))
            os.close(tell)

    @staticmethod
    def _tell(descriptor, number):
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, f"{number}\n".encode())


def become(order):
    """Go on as the program that was ordered, which ends as a program does."""
    os.environ.clear()
    os.environ.update(order["variables"])
    os.chdir(order["directory"])
    sys.argv[1:] = order["words"]
    # Those of the server were made for what it had been given, which may be a file where this is a pipe.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - a descriptor
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - a descriptor, by lines as ever
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


def main():
    for name in IMPORTED_AHEAD:
        importlib.import_module(name)
    gc.freeze()  # No fork looks through all of this for garbage, which would copy it.
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads must not fork"
    order = ForkServer(socket.socket(fileno=int(sys.argv[1]))).run()
    if order:
        become(order)


if __name__ == "__main__":
    main()
