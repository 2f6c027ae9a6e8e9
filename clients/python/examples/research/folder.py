"""Documents from a folder: the text, Markdown and HTML files below it.

Invariant: nothing outside the folder is listed. Linked folders are not entered, and a linked file counts only if it
leads to a file inside.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from research.documents import MAX_DOCUMENT_BYTES, Document, MediaType
from research.errors import SourceNotFound

_MEDIA_TYPES = {
    "": MediaType.PLAIN,  # README, NOTES, LICENSE
    ".adoc": MediaType.PLAIN,
    ".htm": MediaType.HTML,
    ".html": MediaType.HTML,
    ".log": MediaType.PLAIN,
    ".markdown": MediaType.MARKDOWN,
    ".md": MediaType.MARKDOWN,
    ".mdx": MediaType.MARKDOWN,
    ".org": MediaType.PLAIN,
    ".rst": MediaType.PLAIN,
    ".text": MediaType.PLAIN,
    ".txt": MediaType.PLAIN,
    ".xhtml": MediaType.HTML,
}
_PASSED_OVER = frozenset({"node_modules", "__pycache__", "venv"})


@dataclass(frozen=True, slots=True)
class FolderLimits:
    """How much of a folder is taken. What is over a limit is left out, and counted.

    Attributes:
        documents: The most documents, in order of their paths.
        total_bytes: The most bytes in all of them together.
        entries: The most files that are looked at, so that a walk over a whole disk ends.
    """

    documents: int = 5_000
    total_bytes: int = 256 * 1024 * 1024
    entries: int = 100_000


def folder_documents(folder: Path, limits: FolderLimits) -> tuple[list[Document], int]:
    """List the documents below `folder`, in order of their paths, and count the files of a known type left out.

    Raises:
        SourceNotFound: There is no such folder.
    """
    root = folder.expanduser().resolve()
    if not root.is_dir():
        raise SourceNotFound(f"{folder} is not a folder that can be read.")
    documents: list[Document] = []
    total_bytes = left_out_count = 0
    for path, media_type in _candidates(root, limits.entries):
        document = _document(root, path, media_type)
        fits = (
            document is not None
            and len(documents) < limits.documents
            and total_bytes + document.size_bytes <= limits.total_bytes
        )
        if document is not None and fits:
            documents.append(document)
            total_bytes += document.size_bytes
        else:
            left_out_count += 1
    return documents, left_out_count


def _candidates(root: Path, entry_limit: int) -> Iterator[tuple[Path, MediaType]]:
    entry_count = 0
    for parent, folders, files in os.walk(root, followlinks=False):
        # Sorted here, so that a limit leaves out the same files every time.
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _PASSED_OVER)
        for name in sorted(files):
            entry_count += 1
            if entry_count > entry_limit:
                return
            media_type = _MEDIA_TYPES.get(Path(name).suffix.lower())
            if media_type is not None and not name.startswith("."):
                yield Path(parent, name), media_type


def _document(root: Path, path: Path, media_type: MediaType) -> Document | None:
    name = path.relative_to(root).as_posix()
    try:
        # A name that is not Unicode can neither be stored in the index nor be told to anyone.
        name.encode()
        status = path.stat()
        inside = path.resolve(strict=True).is_relative_to(root)
    except (OSError, UnicodeEncodeError):
        return None
    if not inside or not path.is_file() or status.st_size > MAX_DOCUMENT_BYTES:
        return None
    return Document(name, path, media_type, status.st_size, status.st_mtime_ns, root)
