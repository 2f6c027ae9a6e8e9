"""Compiles the JSON Schemas of tools, draft 2020-12, and says in words what is wrong with a value.

No schema is let in that would fetch something, or whose validation is out of proportion to its size. No message
holds the value that was refused: it may be a secret, and messages are recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from service.admission.nesting import nested_within

SCHEMA_LIMIT_BYTES = 64 * 1024
DEPTH_LIMIT = 64
APPLICATIONS_MAX = 10_000
"""How many subschemas a schema may have once its references are replaced by what they name: two references a level
make it exponential, and the validator aborts the process when the report of the failures does not fit in memory."""
VALIDATION_STEPS_MAX = 5_000_000
"""Elements and members of a value times the subschemas for each: about half a second of validation."""
_FEW_ELEMENTS = VALIDATION_STEPS_MAX // APPLICATIONS_MAX
BACKTRACK_LIMIT = 100_000
"""Steps after which a regular expression counts as not matched."""

Path = tuple[str | int, ...]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAMED_SUBSCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_DEFINITIONS = frozenset({"$defs", "definitions"})
_OF_EACH = ("items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties")
_DATA = frozenset({"const", "enum", "default", "examples", "example"})
_REFERENCES = ("$ref", "$dynamicRef")
_PLAIN_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,79}")
_MEMBER_LENGTH = 80
_PATH_LENGTH = 500
_DETAIL_LENGTH = 200
_PROBLEMS: dict[str, tuple[str, str]] = {
    "type": ("types", "must be of type {}"),
    "enum": ("options", "must be one of {}"),
    "const": ("expected_value", "must be {}"),
    "pattern": ("pattern", "must match the pattern {}"),
    "format": ("format", "must be of the format {}"),
    "multipleOf": ("multiple_of", "must be a multiple of {}"),
    "minLength": ("limit", "must have at least {} characters"),
    "maxLength": ("limit", "must have at most {} characters"),
    "minItems": ("limit", "must have at least {} elements"),
    "maxItems": ("limit", "must have at most {} elements"),
    "minProperties": ("limit", "must have at least {} members"),
    "maxProperties": ("limit", "must have at most {} members"),
    "minimum": ("limit", "must be at least {}"),
    "maximum": ("limit", "must be at most {}"),
    "exclusiveMinimum": ("limit", "must be greater than {}"),
    "exclusiveMaximum": ("limit", "must be less than {}"),
    "uniqueItems": ("", "must not hold the same element twice"),
    "anyOf": ("", "has none of the forms that are allowed"),
    "oneOf": ("", "must have exactly one of the forms that are allowed"),
    "propertyNames": ("", "has a member whose name is not allowed"),
}
"""For a keyword the attribute of the error that the schema sets, and what it means."""


class SchemaRefused(ValueError):
    """A schema that is not let in. The message says why, without the schema's name."""


def compile_schema(text: str) -> jsonschema_rs.Validator:
    """Compile a schema given as JSON text. Raises SchemaRefused."""
    if len(text.encode()) > SCHEMA_LIMIT_BYTES:
        raise SchemaRefused(f"is larger than {SCHEMA_LIMIT_BYTES} bytes")
    if not nested_within(text, DEPTH_LIMIT):
        raise SchemaRefused(f"is nested more than {DEPTH_LIMIT} levels deep")
    try:
        schema = orjson.loads(text)
    except ValueError as error:
        raise SchemaRefused(f"is not valid JSON: {error}") from None
    if not isinstance(schema, dict):
        raise SchemaRefused("is not an object")
    if str(schema.get("$schema", _DIALECT)).rstrip("#") != _DIALECT:
        raise SchemaRefused(f"declares another dialect than {_DIALECT}")
    _Applications(schema).bound()
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACK_LIMIT)
    try:
        return jsonschema_rs.Draft202012Validator(schema, offline=True, pattern_options=options)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise SchemaRefused(f"is no valid schema: {str(error).splitlines()[0][:_DETAIL_LENGTH]}") from None


def is_too_much(schema_text: str, elements: int) -> bool:
    """Whether a value with so many elements and members would take too long to validate with a compiled schema."""
    return elements > _FEW_ELEMENTS and elements * _of_each(schema_text) > VALIDATION_STEPS_MAX


@lru_cache(maxsize=512)
def _of_each(schema_text: str) -> int:
    """How many subschemas apply to one element or member of a value, whatever its place or name is."""
    applications = _Applications(orjson.loads(schema_text))
    applications.bound()
    return applications.of_each


class _Applications:
    """Counts the subschemas of a schema with its references followed, and refuses references that leave it."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._anchors: dict[str, dict[str, Any]] = {}
        self._counts: dict[int, int] = {}
        self._unfinished: set[int] = set()
        self._is_circular = False
        self.of_each = 0
        """The most subschemas that apply to each element or member, known once it is bound."""

    def bound(self) -> None:
        try:
            self._find(self._schema, at_root=True)
            count = self._count(self._schema)
        except RecursionError:
            raise SchemaRefused("has references that lead too far") from None
        if self._is_circular:
            self.of_each = count
        if count > APPLICATIONS_MAX:
            raise SchemaRefused(f"has more than {APPLICATIONS_MAX} subschemas once its references are followed")

    def _find(self, schema: object, *, at_root: bool = False) -> None:
        """Collect the anchors, and refuse what makes a reference mean something outside of the schema."""
        if not isinstance(schema, dict):
            return
        if not at_root and isinstance(schema.get("$id"), str):
            raise SchemaRefused("has an $id below its root")
        for keyword in _REFERENCES:
            target = schema.get(keyword)
            if isinstance(target, str) and not target.startswith("#"):
                raise SchemaRefused(f"has a {keyword} to something outside of it: {target[:_DETAIL_LENGTH]}")
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(anchor := schema.get(keyword), str):
                self._anchors[anchor] = schema
        for child in _children(schema, with_definitions=True):
            self._find(child)

    def _count(self, schema: object) -> int:
        if not isinstance(schema, dict):
            return 1
        known = self._counts.get(id(schema))
        if known is not None:
            self._is_circular = self._is_circular or id(schema) in self._unfinished
            return known
        # While a schema is being counted it counts as one: a circle of references goes on only with the value.
        self._counts[id(schema)] = 1
        self._unfinished.add(id(schema))
        count = 1 + sum(self._count(child) for child in _children(schema, with_definitions=False))
        for keyword in _REFERENCES:
            if isinstance(target := schema.get(keyword), str):
                count += self._count(self._resolve(target[1:]))
        self._counts[id(schema)] = count
        self._unfinished.remove(id(schema))
        self.of_each = max(self.of_each, self._count_of_each(schema))
        return count

    def _count_of_each(self, schema: dict[str, Any]) -> int:
        patterns = schema.get("patternProperties")
        named = patterns.values() if isinstance(patterns, dict) else ()
        return sum(self._count(each) for each in (*named, *(schema[key] for key in _OF_EACH if key in schema)))

    def _resolve(self, fragment: str) -> object:
        """What a reference names; None for nothing, which the compiler will report."""
        if "%" in fragment:
            # The validator decodes it: whoever looks for marks must not read another name than the validator does.
            raise SchemaRefused("has a reference with a percent sign: name what it refers to without one")
        if not fragment.startswith("/"):
            return self._anchors.get(fragment) if fragment else self._schema
        found: Any = self._schema
        for part in fragment[1:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list):
                found = found[int(name)] if name.isdecimal() and int(name) < len(found) else None
            else:
                found = found.get(name) if isinstance(found, dict) else None
        return found


def _children(schema: dict[str, Any], *, with_definitions: bool) -> Iterator[object]:
    """The subschemas right below a schema."""
    for keyword, value in schema.items():
        if keyword in _DATA or (keyword in _DEFINITIONS and not with_definitions):
            continue
        if isinstance(value, dict):
            if keyword in _NAMED_SUBSCHEMAS:
                yield from value.values()
            else:
                yield value
        elif isinstance(value, list):
            yield from value


def field_path(path: Sequence[str | int], root: str = "arguments") -> str:
    """A path into a value in words, for example `arguments.items[2].name`."""
    text = root
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_MEMBER.fullmatch(part):
            text += f".{part}"
        else:
            text += f"[{_detail(part, _MEMBER_LENGTH)}]"
    return text if len(text) <= _PATH_LENGTH else f"{text[:_PATH_LENGTH]}…"


def explain(error: jsonschema_rs.ValidationError) -> list[tuple[Path, str]]:
    """What is wrong, as paths and words. A missing or unknown member is named by its own path."""
    path = tuple(error.instance_path)
    kind: Any = error.kind
    keyword = kind.name
    if keyword == "required":
        return [((*path, kind.property), "is required")]
    if keyword in ("additionalProperties", "unevaluatedProperties"):
        return [((*path, member), "is not known to the tool") for member in kind.unexpected]
    if keyword == "pattern" and not hasattr(kind, "pattern"):
        # The library gave up, which it tells under the keyword's name by a kind of its own.
        return [(path, "takes too long to compare with the pattern: give a shorter one")]
    attribute, problem = _PROBLEMS.get(keyword, ("", f"does not satisfy {keyword}"))
    return [(path, problem.format(_shown(kind, attribute)) if attribute else problem)]


def _shown(kind: object, attribute: str) -> str:
    value = getattr(kind, attribute)
    return " or ".join(value) if attribute == "types" else _detail(value)


def _detail(value: object, length: int = _DETAIL_LENGTH) -> str:
    """A value of the schema's in few words, as JSON."""
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= length else f"{text[:length]}…"
