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


def has_member_twice(text: str, canonical: bytes) -> bool:
    """Whether an object in valid JSON text has a member twice.

    `canonical` is what was read of the text by a parser that keeps one of the two, written again.
    """
    return text.count(":") > 1 and loses_member(text.encode(), canonical)


def loses_member(given: bytes, written: bytes) -> bool:
    """Whether a member is missing in what was read of valid JSON text and written again, without needless escapes.

    One that is missing has taken its colon along. All other colons are in both, as they are or as an escape.
    """
    if given == written:
        return False
    colons = given.count(b":")
    if b"\\u003" in given:
        # A backslash that is escaped begins no escape itself.
        bare = given.replace(b"\\\\", b"")
        colons += bare.count(b"\\u003a") + bare.count(b"\\u003A")
    return colons != written.count(b":")


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
