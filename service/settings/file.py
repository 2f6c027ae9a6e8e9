"""A file of settings: TOML, whose tables are sections, and in which line each of them stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file holds. Not looked at yet: whether that are settings."""

    path: Path
    text: str
    tables: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Read a file. Raises ValueError, which says what is wrong and where."""
        try:
            with path.open("rb") as file:
                data = file.read(_BYTES_MAX + 1)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        if len(data) > _BYTES_MAX:
            raise ValueError(f"{path} is larger than {_BYTES_MAX >> 20} MiB, and no file of settings")
        try:
            text = data.decode()
            return cls(path, text, tomllib.loads(text))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8: byte {error.start} is not") from None
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path} is not TOML: {error}") from None

    def place(self, section: str, name: str = "") -> str:
        """Where a setting or a section stands: the file, and the line when it can be told."""
        line = self._line(section, name)
        return f"{self.path}, line {line}" if line else str(self.path)

    def _line(self, section: str, name: str) -> int | None:
        """The line of a setting, or of a section's heading. Quoted and otherwise odd keys are not found."""
        current, lines = "", self.text.splitlines()
        for number, line in enumerate(lines, 1):
            heading = re.match(r"\s*\[\s*([\w-]+)\s*\]", line)
            if heading and self._begins_anew(lines, number):
                current = heading[1]
                found = not name and current == section
            else:
                key = re.match(r"\s*([\w-]+(?:\s*\.\s*[\w-]+)*)\s*=", line)
                words = "".join(key[1].split()).split(".") if key else []
                path = [current, *words] if current else words
                wanted = [section, name] if section and name else [section or name]
                found = path[: len(wanted)] == wanted if words else False
            if found and self._begins_anew(lines, number):
                return number
        return None

    @staticmethod
    def _begins_anew(lines: list[str], number: int) -> bool:
        """Whether a line stands in no text or list of several lines: then what is before it is TOML by itself."""
        try:
            tomllib.loads("\n".join(lines[: number - 1]))
        except tomllib.TOMLDecodeError:
            return False
        return True
