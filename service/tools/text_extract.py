"""`text_extract`: the plain text of a document, given as it is or as a file beneath a folder that may be read."""

import codecs
from pathlib import PurePosixPath
from typing import Annotated, Literal, TypedDict

import podium
from service.tools.document_text import FORMATS, Format, Unreadable, text_of_document
from service.tools.failures import INPUT_REJECTED, TOO_LARGE, failed, told
from service.tools.folders import Folders
from service.tools.settings import Text

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class ExtractedText(TypedDict):
    """The text, the title if the document has one, and what it was read as."""

    text: str
    title: str
    format: str
    encoding: str
    truncated: bool


def add_text_extract(app: podium.Executor, folders: Folders | None, limits: Text) -> None:
    """Serve the tool. Without folders, only documents that are given."""
    permissions = ["read_files"] if folders is not None else []
    from_file = [folders.declaration] if folders is not None else [{"const": ""}]

    @app.tool(permissions=permissions, read_only=True, idempotent=True)
    def text_extract(
        content: Annotated[str, "The document itself.", {"maxLength": limits.max_document_bytes}] = "",
        path: Annotated[str | None, "The file that it is in, instead.", *from_file] = None,
        format: Annotated[Literal["auto", "html", "markdown", "json", "csv", "text"], "What it is."] = "auto",  # noqa: A002 -- the argument's name, as a caller says it
        max_characters: Annotated[int, "How much text to return at most.", {"minimum": 1}] = limits.max_document_bytes,
    ) -> ExtractedText:
        """Extract the plain text of HTML, Markdown, JSON, CSV or text."""
        if (path is None) == (not content):
            raise failed(INPUT_REJECTED, "either content or path is needed, and not both", field="content")
        encoding = "utf-8"
        if path is not None:
            content, encoding = _read(path, folders, limits.max_document_bytes)
        chosen = _format(content, path or "") if format == "auto" else format
        try:
            title, text = text_of_document(content, chosen)
        except Unreadable as error:
            raise failed("UNREADABLE", f"the document cannot be read as {chosen}: {error}") from None
        return ExtractedText(
            text=text[:max_characters],
            title=title,
            format=chosen,
            encoding=encoding,
            truncated=len(text) > max_characters,
        )


def _read(path: str, folders: Folders | None, max_bytes: int) -> tuple[str, str]:
    if folders is None:
        raise failed(INPUT_REJECTED, "path cannot be used: no folder may be read", field="path")
    with told("path"):
        root, relative = folders.at(path)
        with root.open(relative) as file:
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise failed(TOO_LARGE, f"path is a file larger than {max_bytes} bytes", field="path")
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    for encoding in (marked or "utf-8", "cp1252"):
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    raise failed("NOT_TEXT", "path is no text", field="path")


def _format(content: str, path: str) -> Format:
    """By the name of the file; where that says nothing, by how it begins."""
    suffix = PurePosixPath(path).suffix.lower()
    for known, suffixes in FORMATS.items():
        if suffix in suffixes:
            return known
    return "html" if content.lstrip()[:1] == "<" else "text"
