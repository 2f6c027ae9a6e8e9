"""Bounds on JSON text, checked before it is parsed: what a parser makes of a text can be fifty times its size.

Every check takes linear time, whatever the text is, and what is within the bounds by its mere length costs less than
a microsecond.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.admission.nesting import STRING, nested_within, skeleton

_EMPTY = re.compile(r"\[\s*+\]|\{\s*+\}")


@dataclass(frozen=True, slots=True)
class JsonBounds:
    """How large JSON text may be, and what it may hold."""

    size_bytes: int = 8 * 1024 * 1024
    depth: int = 64
    elements: int = 250_000
    """Members of objects and elements of arrays, in all of the text."""
    string_length: int = 8 * 1024 * 1024
    """Characters of one string or of one member's name, as they are written."""

    def problem(self, text: str) -> str:
        """What is wrong with the text, to follow its name; empty: nothing is."""
        if len(text) > self.size_bytes or len(text.encode()) > self.size_bytes:
            return f"is larger than {self.size_bytes} bytes"
        # Before the nesting, which takes a look at all of them for each of its levels.
        if self._has_too_many(text):
            return f"has more than {self.elements} members and elements: split it"
        if not nested_within(text, self.depth):
            return f"is nested more than {self.depth} levels deep"
        if self._has_too_long(text):
            return f"has a string of more than {self.string_length} characters"
        return ""

    def _has_too_many(self, text: str) -> bool:
        # A comma for each but the first, and a bracket for the first. Those inside of strings only make it look again.
        if separators(text) <= self.elements:
            return False
        bones = skeleton(text)
        if bones.count(b",") >= max(1, self.elements) or bones.count(b"[") > self.elements + 1:
            return True
        bare = STRING.sub('""', text)
        return separators(bare) - len(_EMPTY.findall(bare)) > self.elements

    def _has_too_long(self, text: str) -> bool:
        quotes = 2
        if len(text) <= self.string_length + quotes:
            return False
        longest = max((found.end() - found.start() for found in STRING.finditer(text)), default=0)
        return longest > self.string_length + quotes


def separators(text: str) -> int:
    """At least as many as the text has members and elements, and never more than it has characters."""
    return text.count(",") + text.count("[") + text.count("{")
