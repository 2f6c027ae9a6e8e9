"""What a process gives up before it serves or runs anything: resources, privileges, and files outside of its folders.

Invariant: nothing here can be taken back by the process itself, and everything is inherited by what it starts. It needs
the standard library alone, so that the launcher of commands, which runs in a bare interpreter, shares it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Iterable
from dataclasses import dataclass

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38

# Landlock's system calls have these numbers on every architecture; rights and structures are those of linux/landlock.h.
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_RULE_PATH_BENEATH = 1
_LANDLOCK_CREATE_RULESET_VERSION = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1
_RIGHTS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6

SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/dev", "/proc", "/sys")
"""What programs read to start, resolve names and verify certificates. No data of anybody's lies there."""
DEVICES = ("/dev/null", "/dev/zero")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Resources:
    """Bounds on one process. What is None stays as it is."""

    memory_bytes: int | None = None
    """Of private writable memory. Address space alone is not bounded: runtimes reserve far more than they use."""
    open_files: int | None = None
    file_bytes: int | None = None
    """The size to which it may make a file grow."""
    cpu_s: int | None = None
    processes: int | None = None
    """More than its user runs already, in all. The kernel does not hold root to it."""


def limit_resources(bounds: Resources) -> None:
    """Set the bounds, which no privilege that is left can raise; nothing of the process is ever written to a core."""
    _limit(resource.RLIMIT_CORE, 0)
    for kind, bound in (
        (resource.RLIMIT_DATA, bounds.memory_bytes),
        (resource.RLIMIT_NOFILE, bounds.open_files),
        (resource.RLIMIT_FSIZE, bounds.file_bytes),
        (resource.RLIMIT_CPU, bounds.cpu_s),
    ):
        if bound is not None:
            _limit(kind, bound)
    if bounds.processes is not None:
        _limit(resource.RLIMIT_NPROC, _tasks_of(os.geteuid()) + bounds.processes)


def give_up_privileges() -> None:
    """No program that is started gains rights by its file, and no process of this user can look into this one."""
    control(_PR_SET_NO_NEW_PRIVS, 1)
    control(_PR_SET_DUMPABLE, 0)


def control(option: int, value: int) -> None:
    """Make one of the settings of prctl(2). Raises OSError."""
    _checked(_libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))), f"prctl {option}")


def confine_files(readable: Iterable[str], writable: Iterable[str]) -> bool:
    """Let this process, and what it starts, reach files beneath these folders alone, and signal only each other.

    Connections that are open stay open. Returns False where the kernel has no Landlock: then nothing has changed.
    """
    version = _system_call(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        return False
    rights = _RIGHTS_BY_VERSION[min(version, max(_RIGHTS_BY_VERSION))]
    ruleset = _ruleset(version, rights)
    try:
        for path in (*SYSTEM_FOLDERS, *readable):
            _allow(ruleset, path, rights & _READING)
        for path in (*DEVICES, *writable):
            _allow(ruleset, path, rights)
        _checked(_system_call(_LANDLOCK_RESTRICT_SELF, ruleset, 0), "Landlock")
    finally:
        os.close(ruleset)
    return True


def _ruleset(version: int, rights: int) -> int:
    # Its size tells the kernel which fields are there: the rights on files, those on the network (none), the scopes.
    fields = [rights]
    if version >= _NETWORK_SINCE:
        fields.append(0)
    if version >= _SCOPES_SINCE:
        fields.append(_SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    return _checked(_system_call(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0), "Landlock")


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Add a rule for a file, or for all beneath a folder. What is not there needs none."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
            rights &= _ON_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(_system_call(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0), "a rule of Landlock")
    finally:
        os.close(descriptor)


def _system_call(number: int, *arguments: int | bytes | None) -> int:
    # Whole registers: an int is 32 bits wide to ctypes, and the kernel reads 64.
    return int(
        _libc.syscall(*(ctypes.c_long(each) if isinstance(each, int) else each for each in (number, *arguments)))
    )


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what} was refused: {os.strerror(ctypes.get_errno())}")
    return result


def _limit(kind: int, bound: int) -> None:
    _, hard = resource.getrlimit(kind)
    allowed = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
    resource.setrlimit(kind, (allowed, allowed))


def _tasks_of(user: int) -> int:
    """How many threads the user has, which is what the kernel counts as processes."""
    count = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/status", encoding="utf-8", errors="replace") as file:
                facts = dict(line.split(":", 1) for line in file)
        except (FileNotFoundError, ProcessLookupError):
            continue  # It has ended.
        if int(facts["Uid"].split()[0]) == user:
            count += int(facts.get("Threads", "0"))
    return count
