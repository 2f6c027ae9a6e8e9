"""A document: a name that stays the same, the file it stands in, and its text, which is read only when it is asked for.

Invariant: a document never reads outside its folder. The check is repeated at every read, because a file can be
replaced by a link after it was listed.
"""

import codecs
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from research.errors import UnreadableDocument

MAX_DOCUMENT_BYTES = 2 * 1024 * 1024
"""A larger file is refused. The parsers behind this are given strangers' files, and their cost grows with the size."""

_SNIFFED_BYTES = 8192
_TEXT_CONTROLS = b"\t\n\v\f\r\x1b"
_BINARY = bytes(byte for byte in range(32) if byte not in _TEXT_CONTROLS)


class MediaType(StrEnum):
    """The forms of text that can be read; a value is the form's registered media type."""

    PLAIN = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"


def _unchanged(source: str) -> str:
    return source


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus.

    Attributes:
        name: Unique in the corpus and stable over time: a path below the source, or `stdlib:asyncio/queues.py`.
        path: The file, absolute.
        media_type: The form of `text()`.
        size_bytes: The file's size when it was listed.
        modified_ns: The file's modification time when it was listed, in nanoseconds since 1970.
        root: The folder that the file must stay in.
        prepare: Makes the document of the file's contents, where it is only a part of them.
    """

    name: str
    path: Path
    media_type: MediaType
    size_bytes: int
    modified_ns: int
    root: Path
    prepare: Callable[[str], str] = _unchanged

    def source(self) -> str:
        """The file's contents, decoded: what a quotation is checked against. Raises UnreadableDocument."""
        try:
            return decode(self._read())
        except (OSError, ValueError) as error:
            raise UnreadableDocument(f"{self.name} cannot be read: {error}.") from error

    def text(self) -> str:
        """The document, in the form that `media_type` names. Raises UnreadableDocument."""
        return self.prepare(self.source())

    def _read(self) -> bytes:
        path = self.path.resolve(strict=True)
        if not path.is_relative_to(self.root):
            raise ValueError("it leads out of its folder")
        # A pipe would block for ever in open() itself, were it not for O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("it is not a regular file")
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"it is larger than {MAX_DOCUMENT_BYTES} bytes")
        return data


def decode(data: bytes) -> str:
    """Decode text of unknown encoding: a byte-order mark decides, then UTF-8, then Windows-1252.

    Raises:
        ValueError: The bytes are not text.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    sniffed = data[:_SNIFFED_BYTES]
    control_count = len(sniffed) - len(sniffed.translate(None, _BINARY))
    # No text holds a NUL; a stray control character, from a terminal or a page break of old, does not make it binary.
    if b"\0" in data or control_count * 50 > len(sniffed):
        raise ValueError("it is binary")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
