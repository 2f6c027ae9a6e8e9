"""Objects in JSON have each member once: of two, one reader takes the first and another the last.

What is judged (by conditions, schemas and sanitizers) would else not be what a tool reads out of the same text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from podium.v1 import definition_pb2

SMALLEST_WHOLE, LARGEST_WHOLE = -(2**63), 2**64 - 1
"""Whole numbers beyond these are read as they are by some programs and rounded by others."""

TWICE = "has an object with the same member twice"


class MemberTwice(ValueError):
    """An object has a member twice. The message does not name it: names may be secrets."""

    def __init__(self) -> None:
        super().__init__(TWICE)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MemberTwice
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


# Made once: json.loads makes a decoder for every call that does not ask for its defaults.
read_json = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_once).decode
"""The value of JSON text. Raises MemberTwice, and another ValueError for what is no JSON."""
# Numbers are of no interest, and a long one takes longer to convert than to read.
_scan = json.JSONDecoder(parse_int=str, parse_float=str, object_pairs_hook=_once).decode


def has_member_twice(text: str, canonical: bytes) -> bool:
    """Whether an object in valid JSON text has a member twice.

    `canonical` is what was read of the text, written again: where the two are equal, which is nearly always, nothing
    was lost, and to know it takes no second reading.
    """
    if text.count(":") <= 1 or canonical == text.encode():
        return False
    try:
        _scan(text)
    except MemberTwice:
        return True
    return False


def is_given_twice(template: definition_pb2.Template) -> bool:
    """Whether an object of a template, or of one in it, has a member twice."""
    return any(_repeats(each) for each in _objects(template))


def _repeats(template: definition_pb2.ObjectTemplate) -> bool:
    return len({each.name for each in template.members}) != len(template.members)


def _objects(template: definition_pb2.Template) -> Iterator[definition_pb2.ObjectTemplate]:
    kind = template.WhichOneof("kind")
    if kind == "object":
        yield template.object
        for member in template.object.members:
            yield from _objects(member.value)
    elif kind == "array":
        for element in template.array.elements:
            yield from _objects(element)
