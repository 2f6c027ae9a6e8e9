"""The path of a file that must lie beneath one of the roots. Nothing is decoded, resolved or looked up.

A path is split at `/` and its parts are names, nothing else: a part that some other reader of it (a decoder, Windows, a
normaliser) could take for a separator or for the parent folder is refused. What symbolic links make of a path that
passed is seen only where it is opened: `podium.sanitizers.beneath.Root`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote_to_bytes

from podium.sanitizers.beneath import Root
from podium.sanitizers.declaration import Options
from podium.sanitizers.rejection import Rejected, text_of

__all__ = ["PathSanitizer", "Root"]

KIND = "path"
MODES = ("list", "read", "write")
_LENGTH_MAX = 4096
_PART_BYTES_MAX = 255
_DECODINGS_MAX = 8

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_SEPARATOR_ALIKE = re.compile(r"[\\\u2044\u2215\u2216\u29f5\u29f8\u29f9\ufe68\uff0f\uff3c\u2571\u2572]")
_DRIVE_OR_SCHEME = re.compile(r"[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*:/")
_STREAM = re.compile(r":\$|\.[A-Za-z]\w{0,4}:\w")
# What a second decoder makes of it: `%u002e`, and the spellings of byte values that lists of attacks use.
_ENCODED_UNICODE = re.compile(r"%u[0-9A-Fa-f]{4}", re.IGNORECASE)
# With six digits more it is no byte, but the beginning of an address or a digest.
_HEX_WORDS = re.compile(r"0x(?:2e|2f|5c)(?![0-9a-f]{6})", re.IGNORECASE)
# Windows reads these as devices, whatever extension follows, and drops dots and spaces at the end of a name.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9]|conin\$|conout\$) *(?:[.:]|\Z)", re.IGNORECASE)
_PARENT_ALIKE = re.compile(r"\.\.(?![\w.])|\.\.\.+(?!\w)")


class PathSanitizer:
    """Refuses what is not the plain path of something beneath the roots; a path that passes is returned as it is.

    Options: `roots`, absolute folders; `modes`, what may be done there (`read`, `write`, `list`; default `read`), which
    binds whoever opens the path; `max_length`. A relative path lies beneath the first root.
    """

    kind = KIND

    def __init__(self, options: Mapping[str, object]) -> None:
        read = Options(KIND, options)
        self.roots = tuple(_root(read, each) for each in read.texts("roots"))
        self._parts_of_roots = [(root, root.split("/")[1:]) for root in self.roots]
        self.modes = frozenset(read.chosen("modes", ("read",), MODES))
        self._length_max = read.number("max_length", _LENGTH_MAX, _LENGTH_MAX)
        read.close()

    def check(self, value: object) -> str:
        """Return the path, or raise Rejected."""
        return self._checked(value)[0]

    def locate(self, value: object) -> tuple[str, str]:
        """The root that a path lies beneath, and the path relative to it, `.` for the root itself. Raises Rejected."""
        _, root, parts = self._checked(value)
        return root, "/".join(parts) or "."

    def _checked(self, value: object) -> tuple[str, str, list[str]]:
        path = text_of(KIND, value, self._length_max)
        if not path:
            raise Rejected(KIND, "EMPTY", "must not be empty")
        _refuse_other_readings(path)
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not path.startswith("/"):
            return path, self.roots[0], parts
        for root, above in self._parts_of_roots:
            if parts[: len(above)] == above:
                return path, root, parts[len(above) :]
        raise Rejected(KIND, "PATH_OUTSIDE_ROOTS", "lies outside of the folders that are allowed")


def _root(options: Options, given: str) -> str:
    root = PurePosixPath(given)
    if not root.is_absolute() or ".." in root.parts or len(root.parts) == 1 or given.startswith("//"):
        raise options.refuse("roots", "must hold absolute folders without `..`, and not `/` itself")
    return str(root)


def _refuse_other_readings(path: str) -> None:
    """Refuse a path unless it is plain, and stays so when it is normalised or decoded, however often."""
    _refuse_unless_plain(path)
    for _ in range(_DECODINGS_MAX):
        # ASCII without a `%` has one reading, and most paths are that.
        if not path.isascii():
            folded = unicodedata.normalize("NFKC", path)
            if folded.count("/") != path.count("/"):
                raise Rejected(KIND, "PATH_ENCODED", "holds a character that looks like a separator")
            _refuse_unless_plain(folded)
        if "%" not in path or (decoded := _decoded(path)) == path:
            _refuse_names_of_windows(unicodedata.normalize("NFKC", path))
            return
        _refuse_unless_plain(decoded)
        path = decoded
    raise Rejected(KIND, "PATH_ENCODED", "is encoded too many times")


def _refuse_unless_plain(path: str) -> None:
    if _CONTROL.search(path):
        raise Rejected(KIND, "CONTROL_CHARACTER", "holds a control character")
    if _SEPARATOR_ALIKE.search(path):
        raise Rejected(KIND, "PATH_ENCODED", "holds a backslash or a character that looks like a separator")
    if path.startswith(("~", "//")) or _DRIVE_OR_SCHEME.match(path) or _STREAM.search(path):
        raise Rejected(KIND, "PATH_NOT_PLAIN", "is a home, a drive, a network share, a stream or an address")
    if _HEX_WORDS.search(path):
        raise Rejected(KIND, "PATH_ENCODED", "holds an encoded dot or separator")
    if ".." in path and any(_climbs(part) for part in path.split("/")):
        raise Rejected(KIND, "PATH_TRAVERSAL", "leads to a parent folder")
    if len(path) > _PART_BYTES_MAX and any(len(part.encode()) > _PART_BYTES_MAX for part in path.split("/")):
        raise Rejected(KIND, "TOO_LONG", f"has a part longer than {_PART_BYTES_MAX} bytes")


def _refuse_names_of_windows(path: str) -> None:
    for part in path.split("/"):
        if part not in ("", ".") and (part[-1] in ". " or _DEVICE.match(part)):
            raise Rejected(KIND, "PATH_NOT_PLAIN", "has a part that is a device or another name to Windows")


def _climbs(part: str) -> bool:
    """Whether a part is `..`, or a reader that drops spaces, dots or parameters could take it for that."""
    return _PARENT_ALIKE.match(part.strip()) is not None


def _decoded(path: str) -> str:
    """A name may hold a `%`, but not one that turns into a dot, a separator or a control character when decoded."""
    if _ENCODED_UNICODE.search(path):
        raise Rejected(KIND, "PATH_ENCODED", "holds a character in a %u encoding")
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise Rejected(KIND, "PATH_ENCODED", "holds encoded bytes that are not UTF-8") from None
    if decoded.count("/") != path.count("/") or decoded.count(".") != path.count("."):
        raise Rejected(KIND, "PATH_ENCODED", "holds an encoded dot or separator")
    return decoded
