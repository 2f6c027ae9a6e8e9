"""The sanitizers that a JSON Schema declares with `x-podium-sanitize`, put together so that a value goes through them.

Wherever a schema declares one, it is applied, or the schema is refused: no keyword that is not understood here may hold
a declaration. Of alternatives, those are left out that the value surely does not satisfy. What comes out passes again
unchanged: a cleaner never makes what a check before it would have refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from podium.marks import SANITIZE
from podium.sanitizers.declaration import SpecificationRefused
from podium.sanitizers.pointers import Marks, NoPointer, pointed_at
from podium.sanitizers.registry import KINDS, Sanitizer, compile_sanitizer
from podium.sanitizers.rejection import Rejected
from podium.sanitizers.text import Searchable

_IN_PLACE = ("allOf", "anyOf", "oneOf")
_ALTERNATIVE = ("anyOf", "oneOf", "then", "else")
_UNDERSTOOD = frozenset({*_IN_PLACE, "then", "else", "properties", "additionalProperties", "prefixItems", "items"})
_DATA = frozenset({"const", "enum", "default", "examples", "example", "$defs", "definitions", SANITIZE})
_TAKES = {"command": "array"}
_PLAIN_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,79}")
_MEMBER_LENGTH = 80
_COSTS_NS = {
    "text": (800, 100),
    "html": (40_000, 333),
    "json": (8_000, 100),
    "path": (4_000, 200),
    "url": (10_000, 20),
    "sql": (40_000, 200),
    "command": (40_000, 1_000),
}
"""About how many nanoseconds a sanitizer of a kind takes for a short value, and for each character of it."""
_PLACE_NS = 200
"""What it takes to look at a value at one place of the schema, whatever is applied there."""
_CONDITION_NS, _OPTION_NS = 200, 20
"""What it takes to compare a value with what tells an alternative apart, and with each value of an `enum`."""
_UNLIMITED_US = 10**12
_ANY_KIND = "sanitizer"
"""Who refuses what takes too long where the sanitizers themselves are further below."""
_TYPES: dict[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


@dataclass(slots=True)
class _Place:
    """What is applied to a value at one place of the schema, and where it goes on below."""

    sanitizers: list[Sanitizer] = field(default_factory=list)
    nullable: bool = False
    members: dict[str, _Place] = field(default_factory=dict)
    others: _Place | None = None
    first: list[_Place] = field(default_factory=list)
    rest: _Place | None = None
    here: list[tuple[Mapping[str, Any] | None, _Place]] = field(default_factory=list)
    """More that is applied to the same value, where it may satisfy the schema beside it."""
    active: bool = False
    """Whether anything is applied here or below."""

    def below(self) -> Iterator[_Place]:
        """The places that this one leads to."""
        yield from self.members.values()
        yield from self.first
        yield from (place for _, place in self.here)
        yield from (place for place in (self.others, self.rest) if place is not None)


class SchemaSanitizers:
    """Applies the sanitizers of a schema to a value of it."""

    def __init__(self, place: _Place) -> None:
        self._place = place

    def apply(self, value: object, root: str = "arguments", *, limit_us: int | None = None) -> object:
        """Return the value itself where nothing changes, else a changed copy. Raises Rejected with its field.

        `limit_us` is how long about it may take to look at the value once; what would take longer is rejected.
        """
        work = _Work(_UNLIMITED_US if limit_us is None else limit_us)
        cleaned = _apply(self._place, value, root, work)
        if cleaned is not value and _apply(self._place, cleaned, root, _Work(_UNLIMITED_US)) != cleaned:
            raise Rejected("text", "UNSTABLE", "changes again each time it is cleaned", root)
        return cleaned


def compile_schema_sanitizers(
    schema: Mapping[str, Any], *, patterns: Mapping[str, Searchable] | None = None
) -> SchemaSanitizers | None:
    """Compile what a schema of draft 2020-12 declares; None when it declares nothing. Raises SpecificationRefused."""
    if not _mentions(schema):
        return None
    compiler = _Compiler(schema, patterns)
    place = compiler.place(schema, ())
    _activate(compiler.places())
    return SchemaSanitizers(place) if place.active else None


class _Compiler:
    """Turns the subschemas that a value can reach into places, each once: schemas may hold themselves."""

    def __init__(self, schema: Mapping[str, Any], patterns: Mapping[str, Searchable] | None) -> None:
        self._schema = schema
        self._marks = Marks(schema, _is_marked)
        self._patterns = patterns
        self._places: dict[int, _Place] = {}

    def places(self) -> list[_Place]:
        """Every place that was made."""
        return list(self._places.values())

    def place(self, schema: object, within: tuple[int, ...]) -> _Place:
        """The place of a subschema. `within` are those that apply to the same value, from the outside in."""
        if not isinstance(schema, Mapping):
            return _Place()
        if id(schema) in within:
            raise SpecificationRefused(f"{SANITIZE}: the schema refers to itself for one and the same value")
        known = self._places.get(id(schema))
        if known is not None:
            return known
        place = self._places[id(schema)] = _Place(nullable=_allows_null(schema))
        within = (*within, id(schema))
        place.sanitizers = self._sanitizers(schema)
        for keyword, below in schema.items():
            if keyword not in _DATA and keyword not in _UNDERSTOOD and self._leads_to_a_mark(below):
                raise SpecificationRefused(
                    f"{SANITIZE}: must not stand below {keyword}, nor where a reference below it leads; declare it "
                    "below properties, additionalProperties, items, prefixItems, allOf, anyOf, oneOf, then or else"
                )
        place.members = {name: self.place(each, ()) for name, each in schema.get("properties", {}).items()}
        place.first = [self.place(each, ()) for each in schema.get("prefixItems", ())]
        place.others = self.place(schema.get("additionalProperties"), ())
        place.rest = self.place(schema.get("items"), ())
        place.here = list(self._here(schema, within))
        return place

    def _here(
        self, schema: Mapping[str, Any], within: tuple[int, ...]
    ) -> Iterator[tuple[Mapping[str, Any] | None, _Place]]:
        for keyword in _IN_PLACE:
            for each in schema.get(keyword, ()):
                yield (
                    (each if keyword in _ALTERNATIVE and isinstance(each, Mapping) else None),
                    self.place(each, within),
                )
        if "then" in schema:
            condition = schema.get("if")
            yield (condition if isinstance(condition, Mapping) else None), self.place(schema["then"], within)
        if "else" in schema:
            yield None, self.place(schema["else"], within)
        if (target := schema.get("$ref")) is not None:
            yield None, self.place(self._resolve(target), within)
        if "$dynamicRef" in schema:
            raise SpecificationRefused(f"{SANITIZE}: a schema with sanitizers must not use $dynamicRef; use $ref")

    def _resolve(self, target: object) -> object:
        try:
            return pointed_at(self._schema, target)
        except NoPointer as problem:
            raise SpecificationRefused(f"{SANITIZE}: {problem}") from None

    def _leads_to_a_mark(self, below: object) -> bool:
        try:
            return self._marks.within(below)
        except NoPointer as problem:
            raise SpecificationRefused(f"{SANITIZE}: {problem}") from None

    def _sanitizers(self, schema: Mapping[str, Any]) -> list[Sanitizer]:
        declared = schema.get(SANITIZE, {})
        if not isinstance(declared, Mapping) or (SANITIZE in schema and not declared):
            raise SpecificationRefused(f'{SANITIZE}: must be an object such as {{"path": {{"roots": ["/srv/data"]}}}}')
        made = []
        for kind, options in declared.items():
            taken = _TAKES.get(kind, "string")
            if (stated := schema.get("type", taken)) != taken and (
                not isinstance(stated, list) or not {taken} <= set(stated) <= {taken, "null"}
            ):
                raise SpecificationRefused(f"{SANITIZE}.{kind}: takes a value of type {taken}, the schema says another")
            made.append(compile_sanitizer(kind, options, patterns=self._patterns))
        return sorted(made, key=lambda each: KINDS.index(each.kind))


def _mentions(value: object) -> bool:
    """Whether the mark is anywhere in it. A property of that name counts too: it refuses too much, not too little."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, Mapping):
            if SANITIZE in each:
                return True
            pending.extend(each.values())
        elif isinstance(each, list | tuple):
            pending.extend(each)
    return False


def _is_marked(schema: Mapping[str, Any]) -> bool:
    return SANITIZE in schema


def _allows_null(schema: Mapping[str, Any]) -> bool:
    stated = schema.get("type")
    return isinstance(stated, list) and "null" in stated


def _activate(places: list[_Place]) -> None:
    """Mark the places that apply anything, themselves or below, so that the others cost nothing."""
    for place in places:
        place.active = bool(place.sanitizers)
    changed = True
    while changed:
        changed = False
        for place in places:
            if not place.active and any(below.active for below in place.below()):
                place.active = changed = True
    for place in places:
        # Nothing has to be known of an alternative that applies nothing.
        place.here = [(condition, below) for condition, below in place.here if below.active]


class _Work:
    """How much may still be applied. What has begun is finished, so one value is never too much."""

    __slots__ = ("left_ns",)

    def __init__(self, limit_us: int) -> None:
        self.left_ns = limit_us * 1000

    def take(self, kind: str, value: object) -> None:
        """A sanitizer is about to be applied."""
        each, character = _COSTS_NS[kind]
        self.left_ns -= each + (len(value) * character if isinstance(value, str) else 0)

    def require(self, kind: str, path: str) -> None:
        """Raise Rejected when too much was done before, in the name of what would follow."""
        if self.left_ns < 0:
            raise Rejected(kind, "TOO_MUCH", "comes after more values than can be sanitized at once: split them", path)


def _apply(place: _Place, given: object, path: str, work: _Work) -> object:
    if not place.active or (given is None and place.nullable):
        return given
    work.left_ns -= _PLACE_NS
    value = given
    for sanitizer in place.sanitizers:
        work.require(sanitizer.kind, path)
        work.take(sanitizer.kind, value)
        try:
            value = _unless_equal(sanitizer.check(value), value)
        except Rejected as rejected:
            raise Rejected(rejected.sanitizer, rejected.reason, rejected.message, path) from None
    if isinstance(value, dict):
        value = _apply_to_members(place, value, path, work)
    elif isinstance(value, list):
        value = _apply_to_elements(place, value, path, work)
    for condition, below in place.here:
        work.require(below.sanitizers[0].kind if below.sanitizers else _ANY_KIND, path)
        # The schema was satisfied by what was given; what it was cleaned to may look like another alternative.
        if (
            condition is None
            or _may_satisfy(condition, given, work)
            or (value is not given and _may_satisfy(condition, value, work))
        ):
            value = _apply(below, value, path, work)
    return value


def _apply_to_members(place: _Place, value: dict[str, Any], path: str, work: _Work) -> dict[str, Any]:
    changed: dict[str, Any] | None = None
    for name, member in value.items():
        below = place.members.get(name, place.others)
        if below is not None and below.active:
            cleaned = _apply(below, member, _member_path(path, name), work)
            if cleaned is not member:
                changed = changed or dict(value)
                changed[name] = cleaned
    return value if changed is None else changed


def _apply_to_elements(place: _Place, value: list[Any], path: str, work: _Work) -> list[Any]:
    changed: list[Any] | None = None
    for index, element in enumerate(value):
        below = place.first[index] if index < len(place.first) else place.rest
        if below is not None and below.active:
            cleaned = _apply(below, element, f"{path}[{index}]", work)
            if cleaned is not element:
                changed = changed or list(value)
                changed[index] = cleaned
    return value if changed is None else changed


def _unless_equal(cleaned: object, value: object) -> object:
    return value if cleaned == value else cleaned


def _member_path(path: str, name: str) -> str:
    return f"{path}.{name}" if _PLAIN_MEMBER.fullmatch(name) else f"{path}[{json.dumps(name[:_MEMBER_LENGTH])}]"


def _may_satisfy(schema: Mapping[str, Any], value: object, work: _Work) -> bool:
    """False only where the value surely does not satisfy the schema, by what tells alternatives apart."""
    work.left_ns -= _CONDITION_NS
    stated = schema.get("type")
    if stated is not None and not any(
        _TYPES[each](value) for each in ([stated] if isinstance(stated, str) else stated)
    ):
        return False
    if "const" in schema and schema["const"] != value:
        return False
    if "enum" in schema:
        work.left_ns -= _OPTION_NS * len(schema["enum"])
        if value not in schema["enum"]:
            return False
    if isinstance(value, dict):
        if not all(name in value for name in schema.get("required", ())):
            return False
        return all(
            _may_satisfy(each, value[name], work)
            for name, each in schema.get("properties", {}).items()
            if name in value and isinstance(each, Mapping)
        )
    return True
