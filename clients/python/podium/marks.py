"""What is said of a value beside its type: `Annotated[str, podium.Sensitive]`.

A mark is a part of a JSON Schema; the service reads it from the tool's schema and from nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

SENSITIVE = "x-podium-sensitive"
REDACT = "x-podium-redact"
SANITIZE = "x-podium-sanitize"
"""The keywords that mean something to the service."""


class Mark(Mapping[str, bool]):
    """A keyword of a schema that is true. It has a hash, which `Annotated[...] | None` asks for."""

    def __init__(self, keyword: str) -> None:
        self._keyword = keyword

    def __getitem__(self, keyword: str) -> bool:
        return {self._keyword: True}[keyword]

    def __iter__(self) -> Iterator[str]:
        return iter((self._keyword,))

    def __len__(self) -> int:
        return 1

    def __hash__(self) -> int:
        return hash(self._keyword)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mark) and self._keyword == other._keyword


Sensitive = Mark(SENSITIVE)
"""A parameter or an output that is sealed wherever it is recorded: all arguments, or the whole output, of the tool."""

Redacted = Mark(REDACT)
"""A part of an output that is never recorded: [redacted] stands in its place, also for the caller."""
