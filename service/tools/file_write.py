"""`file_write`: a file beneath a folder that may be written, whole or not at all.

A new content stands beside the file, is on disk, and takes its name in one step: no reader, and no crash, sees half of
it. What is appended is written at once, and taken back if it does not fit.
"""

import base64
import binascii
import contextlib
import fcntl
import os
import stat
from typing import Annotated, Literal, TypedDict

import podium
from podium.chance import new_id
from podium.sanitizers.beneath import Root
from podium.sanitizers.rejection import Rejected
from service.tools.failures import INPUT_REJECTED, TOO_LARGE, failed, told
from service.tools.folders import Folders
from service.tools.settings import Files

Mode = Literal["create", "overwrite", "append"]

_NEW_FILE_MODE = 0o640


class Written(TypedDict):
    """What was written, and the size of the file now."""

    path: str
    bytes_written: int
    size: int
    created: bool


def add_file_write(app: podium.Executor, folders: Folders, limits: Files) -> None:
    """Serve the tool."""

    @app.tool(permissions=["write_files"])
    def file_write(
        path: Annotated[str, "The file, relative to the first folder or absolute.", folders.declaration],
        content: str,
        mode: Annotated[Mode, "create refuses a file that exists; overwrite replaces it; append adds."] = "create",
        encoding: Annotated[Literal["utf-8", "base64"], "What content is written in."] = "utf-8",
        make_folders: Annotated[bool, "Make the folders above it that are not there."] = False,
    ) -> Written:
        """Write a file beneath the folders that are allowed."""
        data = _decoded(content, encoding)
        if len(data) > limits.max_write_bytes:
            raise _too_large(limits.max_write_bytes)
        with told("path"):
            root, relative = folders.at(path)
            above, _, name = relative.rpartition("/")
            if make_folders and above:
                root.make_folder(above)
            folder = root.folder(above or ".")
            try:
                existed = _stands(folder, name)
                if mode == "append" and existed:
                    size = _append(root, relative, data, limits.max_write_bytes)
                else:
                    size = _put(folder, name, data, replace=mode == "overwrite")
            finally:
                os.close(folder)
        return Written(path=path, bytes_written=len(data), size=size, created=not existed)


def _decoded(content: str, encoding: str) -> bytes:
    try:
        return content.encode() if encoding == "utf-8" else base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise failed(INPUT_REJECTED, f"content is not valid {encoding}", field="content") from None


def _stands(folder: int, name: str) -> bool:
    """Whether a regular file has the name. Anything else there is refused: it would be replaced by one."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise Rejected("path", "PATH_NOT_A_FILE", "is no regular file")
    return True


def _put(folder: int, name: str, data: bytes, *, replace: bool) -> int:
    temporary = f".podium-{new_id()}"
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _NEW_FILE_MODE, dir_fd=folder
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            with contextlib.suppress(FileNotFoundError):
                if replace:
                    os.fchmod(file.fileno(), stat.S_IMODE(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode))
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            # A link refuses a name that is taken, where a rename would replace what is there.
            os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
    os.fsync(folder)
    return len(data)


def _append(root: Root, relative: str, data: bytes, max_bytes: int) -> int:
    with root.open(relative, "a") as file:
        # Whoever takes back what did not fit must not take what another added meanwhile.
        fcntl.flock(file, fcntl.LOCK_EX)
        before = os.fstat(file.fileno()).st_size
        if before + len(data) > max_bytes:
            raise _too_large(max_bytes)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file.fileno(), left) :]
            os.fsync(file.fileno())
        except BaseException:
            os.ftruncate(file.fileno(), before)
            raise
        return before + len(data)


def _too_large(max_bytes: int) -> podium.ToolFailed:
    return failed(TOO_LARGE, f"content would make the file larger than {max_bytes} bytes", field="content")
