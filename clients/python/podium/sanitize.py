"""Declares sanitizers beside the type of a tool's parameter: `Annotated[str, podium.sanitize.path(roots=["/srv"])]`.

What a declaration means is told by the sanitizer of its name in `podium.sanitizers`; the service compiles it when the
tool is registered, and refuses a wrong one. Several beside one type all apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from podium.json_text import to_json
from podium.marks import SANITIZE


class Declaration(Mapping[str, Mapping[str, Mapping[str, object]]]):
    """The part of a JSON Schema that declares a sanitizer. It has a hash, which `Annotated[...] | None` asks for."""

    def __init__(self, kind: str, options: Mapping[str, object]) -> None:
        self._declared = {kind: options}

    def __getitem__(self, keyword: str) -> Mapping[str, Mapping[str, object]]:
        return {SANITIZE: self._declared}[keyword]

    def __iter__(self) -> Iterator[str]:
        return iter((SANITIZE,))

    def __len__(self) -> int:
        return 1

    def __hash__(self) -> int:
        return hash(to_json(self._declared))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Declaration) and to_json(self._declared) == to_json(other._declared)


def path(*, roots: Sequence[str], modes: Sequence[str] | None = None, max_length: int | None = None) -> Declaration:
    """The path of something beneath one of the roots, where `modes` (read, write, list) may be done."""
    return _declared("path", roots=roots, modes=modes, max_length=max_length)


def url(
    *,
    schemes: Sequence[str] | None = None,
    hosts: Sequence[str] | None = None,
    ports: Sequence[int] | None = None,
    networks: Sequence[str] | None = None,
    max_length: int | None = None,
) -> Declaration:
    """An address of the web: `https` only, and any public host, unless told otherwise."""
    return _declared("url", schemes=schemes, hosts=hosts, ports=ports, networks=networks, max_length=max_length)


def sql(
    *,
    dialect: str,
    kinds: Sequence[str] | None = None,
    functions: Sequence[str] | None = None,
    tables: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    literals: bool | None = None,
    max_length: int | None = None,
) -> Declaration:
    """A single statement of SQL for `sqlite` or `postgres`: a SELECT with bound values, unless told otherwise."""
    return _declared(
        "sql",
        dialect=dialect,
        kinds=kinds,
        functions=functions,
        tables=tables,
        types=types,
        literals=literals,
        max_length=max_length,
    )


def command(*, programs: Mapping[str, Sequence[str]], max_length: int | None = None) -> Declaration:
    """An argument vector: a program by its exact name, and each argument fitting one of the program's patterns."""
    return _declared("command", programs=programs, max_length=max_length)


def html(
    *,
    tags: Sequence[str] | None = None,
    attributes: Mapping[str, Sequence[str]] | None = None,
    schemes: Sequence[str] | None = None,
    max_length: int | None = None,
) -> Declaration:
    """Markup, of which what is allowed is kept."""
    return _declared("html", tags=tags, attributes=attributes, schemes=schemes, max_length=max_length)


def text(*, max_length: int | None = None, normalize: str | None = None, lines: bool | None = None) -> Declaration:
    """Plain text, normalised (`NFC`), without control characters and what hides or reorders text."""
    return _declared("text", max_length=max_length, normalize=normalize, lines=lines)


def json(
    *,
    schema: Mapping[str, object] | None = None,
    max_length: int | None = None,
    max_depth: int | None = None,
    max_values: int | None = None,
    max_string: int | None = None,
) -> Declaration:
    """A text that is JSON, of the schema if there is one, within limits."""
    return _declared(
        "json", schema=schema, max_length=max_length, max_depth=max_depth, max_values=max_values, max_string=max_string
    )


def _declared(kind: str, **options: object) -> Declaration:
    return Declaration(kind, {name: value for name, value in options.items() if value is not None})
