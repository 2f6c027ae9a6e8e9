"""`file_list`: what lies beneath a folder that may be read."""

import datetime as dt
import fnmatch
import posixpath
from itertools import islice
from typing import Annotated, TypedDict

import podium
from podium.sanitizers.beneath import Entry
from service.tools.failures import told
from service.tools.folders import Folders
from service.tools.settings import Files

_DEPTH_MAX = 32


class ListedEntry(TypedDict):
    """Something in a folder. `kind` is file, folder, link or other; links are listed, and never followed."""

    path: str
    name: str
    kind: str
    size: int
    modified_at: str


class FileList(TypedDict):
    """What was found; `truncated` when there is more than may be listed."""

    path: str
    entries: list[ListedEntry]
    truncated: bool


def add_file_list(app: podium.Executor, folders: Folders, limits: Files) -> None:
    """Serve the tool."""

    @app.tool(permissions=["read_files"], read_only=True, idempotent=True)
    def file_list(
        path: Annotated[str, "The folder, relative to the first one or absolute.", folders.declaration] = ".",
        pattern: Annotated[str, "Only names that match, such as *.md.", {"maxLength": 200}] = "*",
        recursive: Annotated[bool, "Also what lies in the folders beneath it."] = False,
        max_entries: Annotated[
            int, "How much to list at most.", {"minimum": 1, "maximum": limits.max_entries}
        ] = limits.max_entries,
    ) -> FileList:
        """List what a folder holds, beneath the folders that are allowed."""
        with told("path"):
            root, relative = folders.at(path)
            found = root.walk(relative, _DEPTH_MAX if recursive else 1)
            wanted = (entry for entry in found if fnmatch.fnmatchcase(posixpath.basename(entry.path), pattern))
            entries = [_listed(entry, folders.named(path, entry.path)) for entry in islice(wanted, max_entries + 1)]
        return FileList(path=path, entries=entries[:max_entries], truncated=len(entries) > max_entries)


def _listed(entry: Entry, path: str) -> ListedEntry:
    seconds = entry.modified_at_ns / 1_000_000_000
    return ListedEntry(
        path=path,
        name=posixpath.basename(path),
        kind=entry.kind,
        size=entry.size,
        modified_at=dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds"),
    )
