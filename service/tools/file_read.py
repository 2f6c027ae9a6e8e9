"""`file_read`: a piece of a file beneath a folder that may be read."""

import base64
import codecs
from typing import Annotated, Literal, TypedDict

import podium
from service.tools.failures import failed, told
from service.tools.folders import Folders
from service.tools.settings import Files


class FilePiece(TypedDict):
    """What was read. `next_offset` is where to go on, null at the end of the file."""

    path: str
    content: str
    encoding: str
    offset: int
    size: int
    next_offset: int | None


def add_file_read(app: podium.Executor, folders: Folders, limits: Files) -> None:
    """Serve the tool."""

    @app.tool(permissions=["read_files"], read_only=True, idempotent=True)
    def file_read(
        path: Annotated[str, "The file, relative to the first folder or absolute.", folders.declaration],
        offset: Annotated[int, "Where to begin, in bytes.", {"minimum": 0}] = 0,
        max_bytes: Annotated[
            int, "How much to read at most.", {"minimum": 4, "maximum": limits.max_read_bytes}
        ] = limits.max_read_bytes,
        encoding: Annotated[Literal["utf-8", "base64"], "base64 for files that are no text."] = "utf-8",
    ) -> FilePiece:
        """Read a file, or a piece of it, beneath the folders that are allowed."""
        with told("path"):
            root, relative = folders.at(path)
            with root.open(relative) as file:
                size = file.seek(0, 2)
                file.seek(min(offset, size))
                data = file.read(max_bytes)
        ends = offset + len(data) >= size
        content, taken = _text(data, ends=ends) if encoding == "utf-8" else (base64.b64encode(data).decode(), len(data))
        return FilePiece(
            path=path,
            content=content,
            encoding=encoding,
            offset=offset,
            size=size,
            next_offset=None if ends else offset + taken,
        )


def _text(data: bytes, *, ends: bool) -> tuple[str, int]:
    """The text, and how many bytes it is: a character that is cut at the end belongs to the next piece."""
    try:
        content, taken = codecs.utf_8_decode(data, "strict", ends)
    except UnicodeDecodeError:
        message = 'path is no text in UTF-8 there; read it with encoding "base64"'
        raise failed("NOT_TEXT", message, field="path") from None
    return content, taken
