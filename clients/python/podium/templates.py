"""From a Python value to the contract's typed template: what has no reference in it is sent as it stands.

A string is never scanned, so text that contains ${...} is only text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from podium.errors import InvalidInput
from podium.json_text import to_json
from podium.references import Reference, Text
from podium.v1 import definition_pb2

Resolve: TypeAlias = Callable[[object], object]


def template(value: object, resolve: Resolve, path: str = "arguments") -> definition_pb2.Template:
    """Returns the template of a value that may hold references anywhere.

    Args:
        value: What to send.
        resolve: Called for every value in it; may give a reference in its place.
        path: Where the value stands, for error messages.
    """
    return _build(_resolved(value, resolve), path)


def references(value: object) -> Iterator[Reference]:
    """Yields every reference in a value whose stand-ins are resolved."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, Text):
        yield from (part for part in value.parts if isinstance(part, Reference))
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for element in value:
            yield from references(element)


def _resolved(value: object, resolve: Resolve) -> object:
    value = resolve(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, Reference | Text | type):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _resolved(member, resolve) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(element, resolve) for element in value]
    return value


def _build(value: object, path: str) -> definition_pb2.Template:
    if isinstance(value, Reference):
        return definition_pb2.Template(reference=value.message())
    if isinstance(value, Text):
        return definition_pb2.Template(interpolation=value.message())
    if next(references(value), None) is None:
        return definition_pb2.Template(literal_json=_literal(value, path))
    built = definition_pb2.Template()
    if isinstance(value, Mapping):
        for name, member in value.items():
            if not isinstance(name, str):
                raise InvalidInput(f"an object's member has a name, not {name!r}", field=path)
            built.object.members.add(name=name, value=_build(member, f"{path}.{name}"))
    elif isinstance(value, list):
        for number, element in enumerate(value):
            built.array.elements.append(_build(element, f"{path}[{number}]"))
    return built


def _literal(value: object, path: str) -> str:
    try:
        return to_json(value)
    except ValueError as error:
        raise InvalidInput(str(error), field=path) from None
