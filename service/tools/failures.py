"""How a built-in tool fails: with a stable reason, and a message that names no content, no secret and no host path."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Generator

import podium
from podium.sanitizers.rejection import Rejected

INPUT_REJECTED = "INPUT_REJECTED"
NOT_FOUND = "NOT_FOUND"
TOO_LARGE = "TOO_LARGE"
TIMEOUT = "TIMEOUT"

_BY_NUMBER = {
    errno.ENOENT: (NOT_FOUND, "does not exist"),
    errno.EEXIST: ("ALREADY_EXISTS", "exists already"),
    errno.EISDIR: ("NOT_A_FILE", "is a folder"),
    errno.ENOTDIR: ("NOT_A_FOLDER", "is no folder, or leads through a file"),
    errno.EACCES: ("ACCESS_DENIED", "may not be touched by this executor"),
    errno.EPERM: ("ACCESS_DENIED", "may not be touched by this executor"),
    errno.EROFS: ("ACCESS_DENIED", "is on a file system that is read only"),
    errno.EFBIG: (TOO_LARGE, "would grow beyond the limit of this executor"),
    errno.ENAMETOOLONG: (INPUT_REJECTED, "is too long"),
}
_PASSING = {
    errno.ENOSPC: ("NO_SPACE", "does not fit: the file system is full"),
    errno.EDQUOT: ("NO_SPACE", "does not fit: the quota is used up"),
    errno.EMFILE: ("OVERLOADED", "cannot be opened: too many files are"),
    errno.ENFILE: ("OVERLOADED", "cannot be opened: too many files are"),
}


def failed(reason: str, message: str, *, retryable: bool = False, field: str = "") -> podium.ToolFailed:
    """The failure of a tool. The same call will fail again, unless it is said to be retryable."""
    return podium.ToolFailed(message, reason=reason, retryable=retryable, field=field)


def rejected(error: Rejected, field: str) -> podium.ToolFailed:
    """The failure for an argument that a sanitizer refused where it was used."""
    where = error.field or field
    return failed(INPUT_REJECTED, f"{where} {error.message} ({error.sanitizer}: {error.reason})", field=where)


@contextlib.contextmanager
def told(field: str) -> Generator[None, None, None]:
    """Tell what goes wrong in the block as the fault of an argument."""
    try:
        yield
    except Rejected as error:
        raise rejected(error, field) from None
    except OSError as error:
        number = error.errno or 0
        reason, problem = _BY_NUMBER.get(number) or _PASSING.get(number, ("IO_ERROR", "cannot be read or written"))
        raise failed(reason, f"{field} {problem}", retryable=number not in _BY_NUMBER, field=field) from None
