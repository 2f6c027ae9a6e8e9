"""The folders that tools may touch: which one a path means, and the way into it that leads nowhere else.

Invariant: a path is judged by the same sanitizer that the service judges it with, and opened only beneath the
descriptor of the folder that it was found in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from podium import sanitize
from podium.sanitizers.beneath import Root
from podium.sanitizers.path import PathSanitizer


class Folders:
    """Folders for one purpose, `read` or `write`. They stay open, and so the same, until they are closed."""

    def __init__(self, paths: Sequence[str], mode: str) -> None:
        self.declaration = sanitize.path(roots=paths, modes=[mode])
        self._sanitizer = PathSanitizer({"roots": list(paths), "modes": [mode]})
        self._roots: dict[str, Root] = {}
        try:
            for path in self._sanitizer.roots:
                self._roots[str(path)] = Root(path)
        except OSError:
            self.close()
            raise

    def at(self, path: str) -> tuple[Root, str]:
        """The folder that a path lies in, and the path relative to it. Raises Rejected."""
        root, relative = self._sanitizer.locate(path)
        return self._roots[root], relative

    def named(self, path: str, relative: str) -> str:
        """What a caller calls something in the folder that `path` lies in, so that it can ask for it."""
        root, _ = self._sanitizer.locate(path)
        return os.path.normpath(f"{root}/{relative}") if path.startswith("/") else os.path.normpath(relative)

    def close(self) -> None:
        """Let go of the folders."""
        for root in self._roots.values():
            root.close()
