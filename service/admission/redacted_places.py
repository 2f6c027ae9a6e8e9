"""Which parts of an output are never recorded: those whose schema is marked with x-podium-redact.

In doubt a part is left out: where one of several alternatives marks it, it counts as marked, whichever the value is of.
A mark at a place that cannot be told from the value alone is refused when the tool is registered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson

from podium.marks import REDACT
from podium.sanitizers.pointers import Marks, NoPointer, pointed_at
from service.domain.errors import Violation

REDACTED = "[redacted]"
_NAME_LENGTH = 80

Schema = dict[str, Any]

_SAME_VALUE = ("if", "then", "else")
_SAME_VALUE_LISTS = ("allOf", "anyOf", "oneOf")
_OTHER_MEMBERS = ("additionalProperties", "unevaluatedProperties")
_ELEMENTS = ("items", "unevaluatedItems", "contains")
_MAPPED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_FOLLOWED = {*_SAME_VALUE, *_SAME_VALUE_LISTS, *_OTHER_MEMBERS, *_ELEMENTS, *_MAPPED, "prefixItems"}
_DATA = frozenset({"const", "enum", "default", "examples", "example"})


class RedactedPlaces:
    """The marked places of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def apply(self, value: object, names: dict[str, None]) -> object:
        """The value with REDACTED in the marked places, and the value itself when there are none. Names the places."""
        return self._apply([self._schema], value, "output", names)

    def _apply(self, schemas: list[Schema], value: object, place: str, names: dict[str, None]) -> object:
        schemas = self._of_same_value(schemas)
        if any(schema.get(REDACT) is True for schema in schemas):
            names[f"redacted:{place}"] = None
            return REDACTED
        if isinstance(value, dict):
            below = {
                name: self._apply(_of_member(schemas, name), each, f"{place}.{_told(schemas, name)}", names)
                for name, each in value.items()
            }
            return below if any(below[name] is not each for name, each in value.items()) else value
        if isinstance(value, list):
            # By kind and not by number: a list of a thousand secrets is one name.
            elements = [
                self._apply(_of_element(schemas, index), each, f"{place}[]", names) for index, each in enumerate(value)
            ]
            return elements if any(new is not old for new, old in zip(elements, value, strict=True)) else value
        return value

    def _of_same_value(self, schemas: list[Schema]) -> list[Schema]:
        """The schemas, and those within them that speak of the same value."""
        found: dict[int, Schema] = {}
        below = list(schemas)
        while below:
            schema = below.pop()
            if id(schema) in found:
                continue
            found[id(schema)] = schema
            below += [each for keyword in _SAME_VALUE if isinstance(each := schema.get(keyword), dict)]
            for keyword in _SAME_VALUE_LISTS:
                below += [each for each in schema.get(keyword, ()) if isinstance(each, dict)]
            below += [each for each in schema.get("dependentSchemas", {}).values() if isinstance(each, dict)]
            if "$ref" in schema and isinstance(target := pointed_at(self._schema, schema["$ref"]), dict):
                below.append(target)
        return list(found.values())


@lru_cache(maxsize=512)
def redacted_places(schema_json: str) -> RedactedPlaces | None:
    """The marked places of a schema; None: it marks none."""
    if not schema_json or (REDACT not in schema_json and "\\u" not in schema_json):
        return None
    schema = orjson.loads(schema_json)
    return RedactedPlaces(schema) if isinstance(schema, dict) and _mentions(schema) else None


def redaction_violations(field: str, schema_json: str) -> Iterator[Violation]:
    """What is wrong with the marks of a schema that is a valid one, as (field, message)."""
    if redacted_places(schema_json) is None:
        return
    schema = orjson.loads(schema_json)
    try:
        yield from ((field, problem) for problem in _problems(schema))
    except NoPointer as problem:
        yield field, f"has {REDACT} and a reference that is no pointer: {problem}"


def _problems(root: Schema) -> Iterator[str]:
    """What is wrong with the marks of each subschema that a value can reach. Raises NoPointer."""
    marks = Marks(root, _is_marked)
    seen: set[int] = set()
    below: list[object] = [root]
    while below:
        schema = below.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        if not isinstance(schema.get(REDACT, False), bool):
            yield f"has {REDACT} with something else than true or false"
        for keyword, value in schema.items():
            if keyword in _MAPPED and isinstance(value, dict):
                below += value.values()
            elif keyword in _FOLLOWED:
                below += value if isinstance(value, list) else [value]
            elif keyword not in _DATA and marks.within(value):
                yield f"has {REDACT} below {keyword} or where a reference below it leads, and it would have no effect"
                return
        if "$dynamicRef" in schema:
            raise NoPointer("use $ref instead of $dynamicRef")
        if "$ref" in schema:
            below.append(pointed_at(root, schema["$ref"]))


def _of_member(schemas: list[Schema], name: str) -> list[Schema]:
    found: list[object] = []
    for schema in schemas:
        known = schema.get("properties", {})
        found += schema.get("patternProperties", {}).values()
        if name in known:
            found.append(known[name])
        else:
            found += [schema.get(keyword) for keyword in _OTHER_MEMBERS]
    return [each for each in found if isinstance(each, dict)]


def _told(schemas: list[Schema], name: str) -> str:
    """A member's name where the schema has it; any other is the tool's, and may be anything."""
    return name[:_NAME_LENGTH] if any(name in schema.get("properties", {}) for schema in schemas) else "*"


def _of_element(schemas: list[Schema], index: int) -> list[Schema]:
    found: list[object] = []
    for schema in schemas:
        first = schema.get("prefixItems", ())
        found += [first[index]] if index < len(first) else [schema.get("items")]
        found += [schema.get(keyword) for keyword in _ELEMENTS[1:]]
    return [each for each in found if isinstance(each, dict)]


def _is_marked(schema: Mapping[str, Any]) -> bool:
    return schema.get(REDACT, False) is not False


def _mentions(value: object) -> bool:
    below = [value]
    while below:
        each = below.pop()
        if isinstance(each, dict):
            if _is_marked(each):
                return True
            below += each.values()
        elif isinstance(each, list):
            below += each
    return False
