"""The file by which a development server is found: where it listens, and a token. The SDK reads it.

Invariant: it is whole and private from its first moment, and a server removes no file but its own.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.cli.failures import CommandFailed, ExitCode


@contextmanager
def discovery_file(path: Path, *, address: str, token: str) -> Generator[None, None, None]:
    """Leave the file for as long as the block lasts. Raises CommandFailed when it cannot be written."""
    content = json.dumps({"address": address, "token": token, "pid": os.getpid()}) + "\n"
    try:
        _write(path, content)
    except OSError as error:
        message = f"{path}, by which clients find this server, cannot be written: {error.strerror}"
        hint = "remove it, or name another with PODIUM_DEV_FILE"
        raise CommandFailed(message, ExitCode.FAILED, "UNWRITABLE_FILE", hint=hint) from None
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_text(encoding="utf-8") == content:
                path.unlink()


def _write(path: Path, content: str) -> None:
    # A file that mkstemp makes is readable by its owner alone.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        # This replaces a link, too, and not what it leads to.
        os.replace(name, path)  # noqa: PTH105 -- Path.replace is the same
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108 -- as above
        raise
