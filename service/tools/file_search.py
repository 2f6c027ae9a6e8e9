"""`file_search`: lines of the text files beneath a folder that hold a text."""

import fnmatch
import posixpath
from collections.abc import Iterator
from typing import Annotated, TypedDict

import podium
from podium.sanitizers.beneath import Root
from podium.sanitizers.rejection import Rejected
from service.tools.failures import told
from service.tools.folders import Folders
from service.tools.settings import Files

_DEPTH_MAX = 32
_LINE_CHARACTERS = 400
_PROBE_BYTES = 8192


class Match(TypedDict):
    """A line that holds the text, by its number from 1; a long one is cut."""

    path: str
    line: int
    text: str


class Matches(TypedDict):
    """What was found; `truncated` when a limit ended the search before all files were read."""

    matches: list[Match]
    files_searched: int
    truncated: bool


class _Budget:
    """How much of a search is left."""

    def __init__(self, matches: int, size_bytes: int) -> None:
        self.matches = matches
        self.bytes = size_bytes

    def is_spent(self) -> bool:
        """Whether more was found or read than there is room for."""
        return self.matches < 0 or self.bytes < 0


def add_file_search(app: podium.Executor, folders: Folders, limits: Files) -> None:
    """Serve the tool."""

    @app.tool(permissions=["read_files"], read_only=True, idempotent=True)
    def file_search(
        ctx: podium.Context,
        text: Annotated[str, "What to look for, literally.", {"minLength": 1, "maxLength": 1000}],
        path: Annotated[str, "The folder, relative to the first one or absolute.", folders.declaration] = ".",
        pattern: Annotated[str, "Only files whose names match, such as *.md.", {"maxLength": 200}] = "*",
        ignore_case: bool = False,
        max_matches: Annotated[
            int, "How many lines to find at most.", {"minimum": 1, "maximum": limits.max_entries}
        ] = min(100, limits.max_entries),
    ) -> Matches:
        """Find the lines that hold a text, in the text files beneath the folders that are allowed."""
        wanted = text.casefold() if ignore_case else text
        budget = _Budget(max_matches, limits.max_search_bytes)
        matches: list[Match] = []
        searched = 0
        with told("path"):
            root, relative = folders.at(path)
            for entry in root.walk(relative, _DEPTH_MAX):
                ctx.raise_if_cancelled()
                if entry.kind != "file" or not fnmatch.fnmatchcase(posixpath.basename(entry.path), pattern):
                    continue
                if budget.is_spent():
                    break
                searched += 1
                for number, line in _lines(root, entry.path, budget):
                    if wanted in (line.casefold() if ignore_case else line):
                        budget.matches -= 1
                        if budget.is_spent():
                            break
                        name = folders.named(path, entry.path)
                        matches.append(Match(path=name, line=number, text=line[:_LINE_CHARACTERS]))
        return Matches(matches=matches, files_searched=searched, truncated=budget.is_spent())


def _lines(root: Root, path: str, budget: _Budget) -> Iterator[tuple[int, str]]:
    """The lines of a text file, as much of it as the budget has; nothing of one that cannot be read."""
    try:
        file = root.open(path)
    except (OSError, Rejected):
        return
    with file:
        if b"\0" in file.read(_PROBE_BYTES):
            return
        file.seek(0)
        number = 0
        while (line := file.readline(budget.bytes + 1)) and not budget.is_spent():
            number += 1
            budget.bytes -= len(line)
            yield number, line.decode("utf-8", "replace").rstrip("\r\n")
