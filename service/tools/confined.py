"""What the process of the built-in tools gives up before it serves: all that its settings do not name.

Invariant: called while the process has one thread. Landlock binds a thread and those that it starts later.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import stat
import sys
from pathlib import Path

import podium
from service.tools.confinement import Resources, confine_files, give_up_privileges, limit_resources
from service.tools.settings import Builtin


def confine(settings: Builtin) -> bool:
    """Limit resources, privileges and files. Returns whether files are confined too, which needs Landlock."""
    limit_resources(
        Resources(
            memory_bytes=settings.process.memory_bytes,
            open_files=settings.process.open_files,
            file_bytes=None if _output_is_a_file() else _largest_file(settings),
        )
    )
    give_up_privileges()
    return confine_files(_readable(settings), _writable(settings))


def _output_is_a_file() -> bool:
    """Whether what the process says goes to a file, to which a bound on the size of files would apply as well.

    Such a log may be as long as it gets. Where files may be written is Landlock's to say, and how large they become the
    tools'; the programs that they run have a bound of their own.
    """
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.fstat(stream).st_mode):
                return True
    return False


def _largest_file(settings: Builtin) -> int | None:
    """The size of the largest file that any tool may make; None where a database file may grow."""
    if any(each.writes and each.dialect == "sqlite" for each in settings.databases):
        return None
    written = settings.files.max_write_bytes if settings.files is not None else 0
    return max(written, settings.commands.file_size_bytes if settings.commands is not None else 0)


def _readable(settings: Builtin) -> list[str]:
    trusted = ssl.get_default_verify_paths()
    code = [sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]), *podium.__path__]
    system = [os.path.realpath("/etc/resolv.conf"), *filter(None, (trusted.cafile, trusted.capath))]
    granted = list(settings.files.readable) if settings.files is not None else []
    granted += [folder for folder, _ in _database_folders(settings)]
    if settings.commands is not None:
        granted += [settings.commands.directory, *(each.path for each in settings.commands.programs.values())]
    return [*code, *map(os.path.realpath, system), *granted]


def _writable(settings: Builtin) -> list[str]:
    granted = list(settings.files.writable) if settings.files is not None else []
    granted += [folder for folder, writes in _database_folders(settings) if writes]
    if settings.commands is not None and settings.commands.writable:
        granted.append(settings.commands.directory)
    return granted


def _database_folders(settings: Builtin) -> list[tuple[str, bool]]:
    """The folders of SQLite files, in which their logs are, and whether they are written."""
    files = [each for each in settings.databases if each.dialect == "sqlite"]
    return [(str(Path(each.url.removeprefix("sqlite:///")).parent), each.writes) for each in files]
