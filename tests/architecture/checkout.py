"""The files of this checkout that the architecture tests look at."""

import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
CLIENT = PurePosixPath("clients/python/podium")
GENERATED = CLIENT / "v1"
HAND_WRITTEN = (PurePosixPath("service"), PurePosixPath("store"), CLIENT)


def modules(*folders: PurePosixPath) -> Iterator[PurePosixPath]:
    """The Python files below `folders` that a person wrote."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = PurePosixPath(path.relative_to(ROOT).as_posix())
            if not relative.is_relative_to(GENERATED):
                yield relative


def committed_texts() -> Iterator[tuple[PurePosixPath, str]]:
    """What git holds or would hold with the next `git add`: every text file that is not ignored, with its text."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        # A tracked file may be deleted in the work tree, a submodule is a folder.
        if path.is_file() and b"\0" not in (data := path.read_bytes()):
            yield PurePosixPath(name), data.decode(errors="replace")
