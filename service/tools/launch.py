"""Starts one command and answers for it: a small process between the executor and the program.

Run in a bare interpreter, `python -I -S`, with a socket to the executor as its standard input, and the pipes of the
program's output as its own. The first line on the socket is the Launch; the one line that goes back is the Ended. When
the socket closes, because the executor gives up or is gone, everything that the command started is ended.

Invariant: no process that descends from the command outlives this one. It is the reaper of all of them, also of those
that left their process group or whose parent ended; they are stopped before they are killed, so that none can fork
away.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from dataclasses import asdict, dataclass
from typing import NoReturn

from service.tools.confinement import Resources, confine_files, control, give_up_privileges, limit_resources

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LAUNCH_BYTES_MAX = 4 * 1024 * 1024
_REAP_INTERVAL_MS = 200
_END_INTERVAL_S = 0.005
_CANNOT_RUN = 127


@dataclass(frozen=True, slots=True)
class Launch:
    """What is run, where and within which bounds."""

    program: str
    arguments: list[str]
    environment: dict[str, str]
    directory: int
    """An open descriptor of the working directory: its path may mean another folder by now."""
    resources: Resources
    readable: list[str]
    writable: list[str]
    user: int | None = None
    """Who runs it, where this process is root."""
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: with an exit code, by a signal, or because it could not be started."""

    exit_code: int | None = None
    signal: str | None = None
    error: str | None = None


def main() -> NoReturn:
    """Run the command that is told on standard input, and exit."""
    channel = socket.socket(fileno=os.dup(0))
    launch = _received(channel)
    if launch is None:
        os._exit(0)
    give_up_privileges()
    control(_PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        _become(launch, channel)
    os.close(launch.directory)
    # The end of the program's output is the end of the pipes, which nobody else may hold.
    for stream in (1, 2):
        _point_at_nothing(stream)
    status = _wait(child, channel)
    _end_descendants()
    if status is not None:
        _tell(channel, _ended(status))
    os._exit(0)


def _received(channel: socket.socket) -> Launch | None:
    """What is to be run; None when the executor gave up before it said so."""
    with channel.makefile("rb") as lines:
        line = lines.readline(_LAUNCH_BYTES_MAX)
    if not line:
        return None
    fields = json.loads(line)
    fields["resources"] = Resources(**fields["resources"])
    return Launch(**fields)


def _become(launch: Launch, channel: socket.socket) -> NoReturn:
    """Turn this process, the child, into the program."""
    try:
        os.setsid()
        os.fchdir(launch.directory)
        os.close(launch.directory)
        _point_at_nothing(0)
        # An interpreter ignores these two; a program expects to end of them.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        confine_files(launch.readable, launch.writable)
        if launch.user is not None and launch.group is not None:
            os.setgroups([])
            os.setgid(launch.group)
            os.setuid(launch.user)
        # After the change of user, which clears it.
        control(_PR_SET_PDEATHSIG, signal.SIGKILL)
        limit_resources(launch.resources)
        os.execve(launch.program, [launch.program, *launch.arguments], launch.environment)  # noqa: S606 -- no shell is the point
    except BaseException as error:  # noqa: BLE001 -- whatever it is, it must not return into the parent's code
        _tell(channel, Ended(error=_reason(error)))
    finally:
        os._exit(_CANNOT_RUN)


def _wait(child: int, channel: socket.socket) -> int | None:
    """Wait until the program ends and return its status; None when the executor gives up before."""
    waiting = select.poll()
    waiting.register(channel, select.POLLIN | select.POLLHUP)
    waiting.register(os.pidfd_open(child), select.POLLIN)
    while True:
        given_up = any(descriptor == channel.fileno() for descriptor, _ in waiting.poll(_REAP_INTERVAL_MS))
        # Also what it left behind, which else would count as running.
        while (reaped := _reap()) is not None and reaped[0]:
            if reaped[0] == child:
                return reaped[1]
        if given_up:
            return None


def _end_descendants() -> None:
    stopped: set[int] = set()
    while (reaped := _reap()) is not None:
        if reaped[0]:
            continue
        alive = _descendants()
        moving = alive - stopped
        # A stopped process starts no other. Once a look finds none that moves, all are there, and all are ended.
        _signal(moving or alive, signal.SIGSTOP if moving else signal.SIGKILL)
        stopped |= moving
        if not moving:
            signal.sigtimedwait({signal.SIGCHLD}, _END_INTERVAL_S)


def _reap() -> tuple[int, int] | None:
    """A child that has ended, and its status; (0, 0) when all run, None when there is none."""
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None


def _descendants() -> set[int]:
    """Every process below this one that has not ended."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                # The name of the program, in parentheses, may hold anything.
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            children.setdefault(int(parent), []).append(int(name))
    found: set[int] = set()
    left = [os.getpid()]
    while left:
        below = children.get(left.pop(), [])
        found.update(below)
        left += below
    return found


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _ended(status: int) -> Ended:
    code = os.waitstatus_to_exitcode(status)
    return Ended(exit_code=code) if code >= 0 else Ended(signal=signal.Signals(-code).name)


def _tell(channel: socket.socket, ended: Ended) -> None:
    try:
        channel.sendall(json.dumps(asdict(ended)).encode() + b"\n")
    except OSError:
        return  # The executor is gone.


def _point_at_nothing(stream: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, stream)
    os.close(nothing)


def _reason(error: BaseException) -> str:
    return error.strerror or "failed" if isinstance(error, OSError) else type(error).__name__
