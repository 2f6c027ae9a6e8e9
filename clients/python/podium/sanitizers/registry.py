"""Sanitizers by kind. A kind's module is loaded when it is first declared: most need a library of the extra.

Whoever admits calls compiles each declaration once and checks with what came out; a check never imports or compiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Protocol

from podium.sanitizers.declaration import SpecificationRefused
from podium.sanitizers.text import Searchable

KINDS = ("text", "html", "json", "path", "url", "sql", "command")
"""In the order in which several on one value are applied: what changes a value comes before what judges it."""


class MissingLibrary(ImportError):
    """A library of the extra `podium-client[sanitizers]` is not installed."""


class Sanitizer(Protocol):
    """A compiled declaration. It is pure and holds no state of its calls."""

    @property
    def kind(self) -> str:
        """Its kind, one of KINDS."""

    def check(self, value: object) -> object:
        """Return the value, cleaned where the kind cleans, or raise Rejected."""


def compile_sanitizer(
    kind: str, options: Mapping[str, object], *, patterns: Mapping[str, Searchable] | None = None
) -> Sanitizer:
    """Compile a declaration. `patterns` are content patterns by name, which texts are searched for at each check.

    Raises SpecificationRefused for a declaration that is wrong, and MissingLibrary.
    """
    if kind not in KINDS:
        raise SpecificationRefused(f"{kind}: is no kind of sanitizer; there are {', '.join(KINDS)}")
    made: Sanitizer
    if kind == "text":
        made = _module(kind).TextSanitizer(options, {} if patterns is None else patterns)
    else:
        made = getattr(_module(kind), f"{kind.capitalize()}Sanitizer")(options)
    return made


def _module(kind: str) -> ModuleType:
    try:
        return import_module(f"podium.sanitizers.{kind}")
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            f"the sanitizer {kind} needs {error.name}: install podium-client[sanitizers]", name=error.name
        ) from None
