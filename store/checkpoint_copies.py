"""Where checkpoints are copied to, out of reach of whoever can change the database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from store.checkpoints import split_notes

COMMAND_MAX_S = 10.0
"""How long a command may take."""
_LAST_NOTE_BYTES = 4096


class CopyFailed(Exception):
    """A checkpoint could not be copied. The message names the place and what went wrong."""


class CheckpointCopy(Protocol):
    """A place outside of the database."""

    async def keep(self, note: str) -> None:
        """Keep a note. Raises CopyFailed."""

    async def last(self) -> str | None:
        """The note that was kept last, where the place can tell. Raises CopyFailed."""


class CheckpointFile:
    """A file that holds one note after another. It only ever grows."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def keep(self, note: str) -> None:
        """Append a note and wait until the disk has it."""
        try:
            await asyncio.to_thread(self._append, note)
        except OSError as error:
            raise CopyFailed(f"the checkpoint file {self._path} cannot be written: {error.strerror}") from None

    async def last(self) -> str | None:
        """The note at the end of the file that covers most: one that was written late must not hide its successor's."""
        try:
            end = await asyncio.to_thread(self._end)
        except OSError as error:
            raise CopyFailed(f"the checkpoint file {self._path} cannot be read: {error.strerror}") from None
        notes, _ = split_notes(end)
        return max(notes, key=_size_of, default=None)

    def _append(self, note: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self._path.exists()
        is_cut_off = not is_new and not self._end().endswith("\n\n")
        with self._path.open("a", encoding="utf-8") as file:
            # A note that a crash cut off must not run into this one.
            file.write(("\n\n" if is_cut_off else "") + note + "\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(self._path.parent)

    def _end(self) -> str:
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, self._path.stat().st_size - _LAST_NOTE_BYTES))
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""


class CheckpointCommand:
    """A program that is given each note on its standard input. It runs without a shell and for a bounded time."""

    def __init__(self, words: Sequence[str], *, max_s: float = COMMAND_MAX_S) -> None:
        self._words = list(words)
        self._max_s = max_s

    async def keep(self, note: str) -> None:
        """Run the program. That it kept the note is what its exit code 0 says."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
            )
        except OSError as error:
            raise CopyFailed(f"the checkpoint command {self._words[0]} cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._max_s):
                await process.communicate(note.encode())
        except TimeoutError:
            raise CopyFailed(f"the checkpoint command {self._words[0]} took longer than {self._max_s:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            raise CopyFailed(f"the checkpoint command {self._words[0]} ended with exit code {process.returncode}")

    async def last(self) -> str | None:
        """Nothing: what a program did with a note is its own affair."""
        return None


def _size_of(note: str) -> int:
    # The second line of a checkpoint's text. What is no checkpoint comes last.
    _, _, rest = note.partition("\n")
    size = rest.partition("\n")[0]
    return int(size) if size.isascii() and size.isdecimal() else -1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
