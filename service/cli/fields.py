"""Reads a file's fields one by one, and collects everything that is wrong, each with its path.

Invariant: reading never fails. What is wrong is noted, and something harmless is returned in its place, so that a user
learns of all mistakes at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from podium.durations import milliseconds
from service.cli.failures import Violation

UINT32_MAX = 2**32 - 1
_SIZE = re.compile(r"(\d{1,9}) ?(KiB|MiB|GiB)")
_SIZE_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Fields:
    """The members of one object in the file. `problems` is shared by all objects of the file."""

    def __init__(self, content: object, path: str, problems: list[Violation]) -> None:
        self._path = path
        self._problems = problems
        self._content: Mapping[str, Any] = {}
        if isinstance(content, Mapping) and all(isinstance(name, str) for name in content):
            self._content = content
        else:
            self._wrong("", f"must be an object with named members, not {_kind(content)}")

    def known(self, *names: str) -> None:
        """Note every member that has none of these names."""
        for name in self._content:
            if name not in names:
                close = get_close_matches(name, names, n=1)
                meant = f"do you mean {close[0]}?" if close else f"there are {', '.join(names)}"
                self._wrong(name, f"is not known: {meant}")

    def has(self, name: str) -> bool:
        """Whether the member is there and not null."""
        return self._content.get(name) is not None

    def value(self, name: str) -> Any:  # noqa: ANN401 -- any JSON value
        """Return the member as it is; None when it is not there."""
        return self._content.get(name)

    def text(self, name: str, *, required: bool = False) -> str:
        """Return a member that is text; empty when it is not there."""
        value = self._content.get(name)
        if value is None:
            if required:
                self._wrong(name, "is missing")
            return ""
        if not isinstance(value, str):
            self._wrong(name, f"must be text, not {_kind(value)}")
            return ""
        if required and not value:
            self._wrong(name, "is empty")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a member that is a list of texts; one text stands for a list of it."""
        value = self._content.get(name)
        if value is None:
            return []
        if isinstance(value, str):
            return [value]
        if isinstance(value, Sequence) and all(isinstance(each, str) for each in value):
            return list(value)
        self._wrong(name, f"must be a list of texts, not {_kind(value)}")
        return []

    def truth(self, name: str) -> bool:
        """Return a member that is true or false; false when it is not there."""
        value = self._content.get(name)
        if value is not None and not isinstance(value, bool):
            self._wrong(name, f"must be true or false, not {_kind(value)}")
        return value is True

    def count(self, name: str) -> int:
        """Return a member that is a whole number from 0; 0 when it is not there."""
        value = self._content.get(name)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= UINT32_MAX:
            self._wrong(name, f"must be a whole number from 0, not {_kind(value)}")
            return 0
        return value

    def number(self, name: str) -> float | None:
        """Return a member that is a number; None when it is not there."""
        value = self._content.get(name)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        self._wrong(name, f"must be a number, not {_kind(value)}")
        return None

    def duration_ms(self, name: str) -> int:
        """Return a duration ("10s", "1m30s", or a number of seconds) in milliseconds; 0 when it is not there."""
        value = self._content.get(name)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self._wrong(name, f"must be a duration, not {_kind(value)}")
            return 0
        try:
            return milliseconds(value)
        except ValueError as error:
            self._wrong(name, f"must be a duration: {error}")
            return 0

    def positive_duration_ms(self, name: str, remedy: str) -> int:
        """Return a duration that is there, where 0 would mean something else; the remedy says how that is written."""
        told = len(self._problems)
        found = self.duration_ms(name)
        if not found and len(self._problems) == told:
            self._wrong(name, f"must be more than 0: {remedy}")
        return found

    def size_bytes(self, name: str) -> int:
        """Return a size ("64KiB", "10MiB", "1GiB", or a number of bytes) in bytes; 0 when it is not there."""
        value = self._content.get(name)
        found = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            return self.count(name)
        return int(found[1]) * _SIZE_UNITS[found[2]]

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """Return a member that is one of the choices; empty when it is not there."""
        value = self._content.get(name)
        if value is None or value in choices:
            return value or ""
        self._wrong(name, f"must be one of {', '.join(choices)}, not {value!r}")
        return ""

    def json_text(self, name: str) -> str:
        """Return any member as JSON text; empty when it is not there."""
        if name not in self._content:
            return ""
        try:
            text = json.dumps(self._content[name], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            self._wrong(name, f"has no JSON form: {error}")
            return ""
        return text

    def object(self, name: str) -> Fields:
        """Return a member that is an object; an empty one when it is not there."""
        value = self._content.get(name)
        return Fields({} if value is None else value, self._at(name), self._problems)

    def objects(self, name: str) -> Iterator[Fields]:
        """Yield the objects in a member that is a list."""
        value = self._content.get(name)
        if not isinstance(value, list):
            self._wrong(name, "is missing" if value is None else f"must be a list, not {_kind(value)}")
            return
        for number, each in enumerate(value):
            yield Fields(each, f"{self._at(name)}[{number}]", self._problems)

    def members(self, name: str) -> Iterator[tuple[str, Fields]]:
        """Yield the objects in a member that is an object of named ones; nothing when it is not there."""
        value = self._content.get(name)
        if value is None:
            return
        if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value):
            self._wrong(name, f"must be an object with named members, not {_kind(value)}")
            return
        for each, content in value.items():
            yield each, Fields({} if content is None else content, f"{self._at(name)}.{each}", self._problems)

    def wrong(self, name: str, problem: str) -> None:
        """Note what is wrong with a member."""
        self._wrong(name, problem)

    def _wrong(self, name: str, problem: str) -> None:
        self._problems.append((self._at(name), problem))

    def _at(self, name: str) -> str:
        return ".".join(filter(None, (self._path, name))) or "the file"


def _kind(value: object) -> str:
    """What a value is, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return json.dumps(value) if value == value else "NaN"  # noqa: PLR0124 -- NaN alone differs from itself
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"
