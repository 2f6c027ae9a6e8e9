"""Files beneath a folder, opened so that nothing leads out of it, whoever moves things about meanwhile.

Each part of a path is opened relative to the descriptor of the part before it, and never through a symbolic link: there
is no moment between a check and a use. Links are refused even where they stay inside. A hard link cannot be told from
its file; who may write beneath a root can put one there only to files that it owns or may write.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self, cast

from podium.sanitizers.rejection import Rejected

_FLAGS = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}
_NEW_FILE_MODE = 0o600
_NEW_FOLDER_MODE = 0o700
_DEPTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder: its path relative to the root, what it is, its size in bytes and when it changed."""

    path: str
    kind: str
    """`file`, `folder`, `link`, or `other` for sockets, pipes and devices."""
    size: int
    modified_at_ns: int


class Root:
    """A folder and what lies beneath it. Paths are relative to it; `.` is the folder itself.

    The folder is opened once, through links if its own path has any, and stays the same one if it is renamed. A path
    that leads out raises Rejected; everything else that goes wrong is the operating system's OSError.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder. What was opened beneath it stays open."""
        os.close(self._descriptor)

    def open(self, relative: str, mode: str = "r") -> BinaryIO:
        """Open a regular file: `r` to read, `w` to overwrite or make, `x` to make, `a` to append. Always binary."""
        folder, name = self._parent(relative)
        try:
            # Without O_NONBLOCK the opening of a pipe waits for its other end.
            flags = _FLAGS[mode] | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            descriptor = _open(name, flags, folder)
        finally:
            os.close(folder)
        try:
            _refuse_unless_regular(descriptor)
            if mode == "w":
                # Only now: O_TRUNC would act on whatever stands there.
                os.ftruncate(descriptor, 0)
            os.set_blocking(descriptor, True)
            return cast("BinaryIO", os.fdopen(descriptor, f"{'w' if mode == 'x' else mode}b"))
        except BaseException:
            os.close(descriptor)
            raise

    def stat(self, relative: str) -> Entry:
        """What lies there, without following a link."""
        if not _parts(relative):
            return _entry(".", os.fstat(self._descriptor))
        folder, name = self._parent(relative)
        try:
            return _entry(relative, os.stat(name, dir_fd=folder, follow_symlinks=False))
        finally:
            os.close(folder)

    def list(self, relative: str = ".") -> list[Entry]:
        """What a folder holds, by name."""
        folder = self._folder(_parts(relative))
        try:
            prefix = "/".join(_parts(relative))
            return _entries(folder, f"{prefix}/" if prefix else "")
        finally:
            os.close(folder)

    def walk(self, relative: str = ".", depth_max: int = _DEPTH_MAX) -> Iterator[Entry]:
        """Everything beneath a folder, each folder before what it holds. What vanishes meanwhile is left out."""
        for entry in self.list(relative):
            yield entry
            if entry.kind == "folder" and depth_max > 1:
                try:
                    yield from self.walk(entry.path, depth_max - 1)
                except (FileNotFoundError, PermissionError, Rejected):
                    continue

    def make_folder(self, relative: str) -> None:
        """Make a folder and those above it that are not there."""
        folder = os.dup(self._descriptor)
        try:
            for name in _parts(relative):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, _NEW_FOLDER_MODE, dir_fd=folder)
                folder = _step(folder, name)
        finally:
            os.close(folder)

    def _parent(self, relative: str) -> tuple[int, str]:
        """A descriptor of the folder that a path's last part lies in, to be closed, and that part."""
        parts = _parts(relative)
        if not parts:
            raise Rejected("path", "PATH_NOT_A_FILE", "is the root itself")
        return self._folder(parts[:-1]), parts[-1]

    def _folder(self, parts: Sequence[str]) -> int:
        folder = os.dup(self._descriptor)
        try:
            for name in parts:
                folder = _step(folder, name)
        except BaseException:
            os.close(folder)
            raise
        return folder


def _parts(relative: str) -> list[str]:
    if relative.startswith("/") or "\0" in relative:
        raise Rejected("path", "PATH_OUTSIDE_ROOTS", "must be relative to the root")
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Rejected("path", "PATH_TRAVERSAL", "leads to a parent folder")
    return parts


def _step(folder: int, name: str) -> int:
    """Go one folder down; the descriptor it came from is closed."""
    below = _open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, folder)
    os.close(folder)
    return below


def _open(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, _NEW_FILE_MODE, dir_fd=folder)
    except OSError as error:
        # A link is ELOOP to O_NOFOLLOW; together with O_DIRECTORY it is ENOTDIR, as a file is.
        link = error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and _is_link(name, folder))
        if link:
            raise Rejected("path", "PATH_LINK", "leads through a symbolic link") from None
        raise


def _refuse_unless_regular(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise Rejected("path", "PATH_NOT_A_FILE", "is no regular file")


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _entries(folder: int, prefix: str) -> list[Entry]:
    found = []
    for name in sorted(os.listdir(folder)):
        try:
            found.append(_entry(f"{prefix}{name}", os.stat(name, dir_fd=folder, follow_symlinks=False)))
        except FileNotFoundError:
            continue
    return found


def _entry(path: str, status: os.stat_result) -> Entry:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return Entry(path, kinds.get(stat.S_IFMT(status.st_mode), "other"), status.st_size, status.st_mtime_ns)
