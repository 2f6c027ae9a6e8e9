"""A type hint as a JSON type: what its schema is, and how a JSON value becomes a value of it.

Both live here together, so that what the schema lets in is what the function gets. A hint that has no JSON form is
refused when the tool is declared.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias, cast

from podium.json_text import to_json
from podium.marks import SANITIZE

Schema: TypeAlias = dict[str, Any]
Read: TypeAlias = Callable[[Any], Any]

_ARRAYS: dict[object, Callable[[list[Any]], object]] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    set: set,
    frozenset: frozenset,
}
_ANYTHING = (Any, object, inspect.Parameter.empty)
_OBJECTS = (dict, Mapping, collections.abc.MutableMapping)
_SCALARS: dict[object, tuple[str, type | tuple[type, ...]]] = {
    str: ("string", str),
    bool: ("boolean", bool),
    int: ("integer", int),
    float: ("number", (int, float)),
    None: ("null", types.NoneType),
    types.NoneType: ("null", types.NoneType),
}


class UnsupportedHint(TypeError):
    """A type hint that has no JSON form."""


class Mismatch(ValueError):
    """A JSON value that is not of the type. The message says where, as a path."""


@dataclass(frozen=True, slots=True)
class JsonType:
    """A type's schema, and how to read a JSON value as a value of it. Reading raises Mismatch."""

    schema: Schema
    read: Read


@dataclass(slots=True)
class JsonTypes:
    """Turns hints into JSON types. Classes are defined once, under $defs, so they may hold themselves."""

    definitions: dict[str, Schema] = field(default_factory=dict)
    _readers: dict[type, Read] = field(default_factory=dict)

    def of(self, hint: object) -> JsonType:
        """Returns the JSON type of a hint, or raises UnsupportedHint."""
        if hint in _ANYTHING:
            return JsonType({}, lambda value: value)
        if isinstance(hint, typing.NewType):
            return self.of(hint.__supertype__)
        if type(hint).__name__ == "TypeAliasType":  # `type X = ...`, which Python 3.11 does not have
            return self.of(cast("Any", hint).__value__)
        # Not every hint can be hashed: Annotated may hold a mapping.
        if (hint is None or isinstance(hint, type)) and hint in _SCALARS:
            return _scalar(hint)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return _enum(hint)
        if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or typing.is_typeddict(hint)):
            return self._class(hint)
        return self._compound(hint, typing.get_origin(hint) or hint, typing.get_args(hint))

    def _compound(self, hint: object, origin: object, arguments: tuple[Any, ...]) -> JsonType:
        if origin is typing.Annotated:
            return self._annotated(arguments)
        if origin in {typing.Required, typing.NotRequired}:
            return self.of(arguments[0])
        if origin is typing.Literal:
            return _literal(arguments)
        if origin in {typing.Union, types.UnionType}:
            return self._union(arguments)
        if origin is tuple:
            return self._tuple(arguments)
        if origin in _ARRAYS:
            return self._array(
                self.of(arguments[0] if arguments else Any), _ARRAYS[origin], unique=origin in {set, frozenset}
            )
        if origin in _OBJECTS:
            return self._mapping(arguments)
        raise UnsupportedHint(
            f"{hint!r} has no JSON form; use str, int, float, bool, None, list, dict, tuple, set, Union, Literal, "
            "Enum, TypedDict or a dataclass"
        )

    def _annotated(self, arguments: tuple[Any, ...]) -> JsonType:
        """Text beside a type describes it; a mapping beside it is schema: Annotated[int, "cents", {"minimum": 0}]."""
        inner = self.of(arguments[0])
        schema = dict(inner.schema)
        for beside in arguments[1:]:
            if isinstance(beside, str):
                schema["description"] = beside
            elif isinstance(beside, Mapping):
                # Every sanitizer that is declared applies, also where the type beside it has declared some.
                declared = {**schema.get(SANITIZE, {}), **beside.get(SANITIZE, {})}
                schema.update(beside)
                if declared:
                    schema[SANITIZE] = declared
        return JsonType(schema, inner.read)

    def _union(self, hints: tuple[Any, ...]) -> JsonType:
        members = [self.of(hint) for hint in hints]

        def read(value: object) -> object:
            for member in members:
                try:
                    return member.read(value)
                except Mismatch:
                    continue
            raise Mismatch("is of none of the types it may have")

        return JsonType({"anyOf": [member.schema for member in members]}, read)

    def _array(self, element: JsonType, build: Callable[[list[Any]], object], *, unique: bool) -> JsonType:
        schema: Schema = {"type": "array", "items": element.schema}
        if unique:
            schema["uniqueItems"] = True
        return JsonType(schema, lambda value: build([_within(f"[{n}]", element.read, e) for n, e in _elements(value)]))

    def _tuple(self, hints: tuple[Any, ...]) -> JsonType:
        if not hints or hints[-1] is Ellipsis:
            return self._array(self.of(hints[0] if hints else Any), tuple, unique=False)
        members = [self.of(hint) for hint in hints]
        schema = {
            "type": "array",
            "prefixItems": [member.schema for member in members],
            "items": False,
            "minItems": len(members),
        }

        def read(value: object) -> object:
            elements = list(_elements(value))
            if len(elements) != len(members):
                raise Mismatch(f"must have {len(members)} elements")
            return tuple(_within(f"[{n}]", members[n].read, element) for n, element in elements)

        return JsonType(schema, read)

    def _mapping(self, hints: tuple[Any, ...]) -> JsonType:
        if hints and hints[0] is not str:
            raise UnsupportedHint("an object's names are text: use dict[str, ...]")
        if not hints:
            return JsonType({"type": "object"}, lambda value: dict(_members(value)))
        member = self.of(hints[1])

        def read(value: object) -> object:
            return {name: _within(f".{name}", member.read, each) for name, each in _members(value).items()}

        return JsonType({"type": "object", "additionalProperties": member.schema}, read)

    def _class(self, hint: type) -> JsonType:
        schema = {"$ref": f"#/$defs/{hint.__name__}"}
        if hint not in self._readers:
            if hint.__name__ in self.definitions:
                raise UnsupportedHint(f"two types are named {hint.__name__}")
            self.definitions[hint.__name__] = {}
            # A class that holds itself finds this entry; the true reader is in its place before anything is read.
            self._readers[hint] = dict
            build = hint if dataclasses.is_dataclass(hint) else dict
            object_type = self.object(_class_fields(hint))
            self.definitions[hint.__name__] = object_type.schema
            self._readers[hint] = lambda value: build(**object_type.read(value))
        readers = self._readers
        return JsonType(schema, lambda value: readers[hint](value))  # noqa: PLW0108 -- the reader of that time

    def object(self, fields: Mapping[str, Field]) -> JsonType:
        """Returns the type of an object with exactly these members; reading it gives those that are there."""
        members = {name: self.of(each.hint) for name, each in fields.items()}
        schema: Schema = {
            "type": "object",
            "properties": {name: _with_default(member.schema, fields[name]) for name, member in members.items()},
            "additionalProperties": False,
        }
        required = [name for name, each in fields.items() if each.required]
        if required:
            schema["required"] = required
        readers = {name: (member.read, f".{name}") for name, member in members.items()}

        def read(value: object) -> dict[str, object]:
            given = _members(value)
            for name in required:
                if name not in given:
                    raise Mismatch(f".{name} is missing")
            for name in given:
                if name not in readers:
                    raise Mismatch(f".{name} is unknown")
            result = {}
            for name, each in given.items():
                reader, path = readers[name]
                result[name] = _within(path, reader, each)
            return result

        return JsonType(schema, read)


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an object, or a parameter of a function."""

    hint: object
    default: object = inspect.Parameter.empty
    required: bool = True


def _class_fields(hint: type) -> dict[str, Field]:
    hints = typing.get_type_hints(hint, include_extras=True)
    if not dataclasses.is_dataclass(hint):
        required: frozenset[str] = vars(hint)["__required_keys__"]
        return {name: Field(each, required=name in required) for name, each in hints.items()}
    result = {}
    for each in dataclasses.fields(hint):
        if each.init:
            optional = each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING
            default = inspect.Parameter.empty if each.default is dataclasses.MISSING else each.default
            result[each.name] = Field(hints[each.name], default, required=not optional)
    return result


def _with_default(schema: Schema, described: Field) -> Schema:
    """A default that JSON can say is told; any other only makes the member optional."""
    if described.default is inspect.Parameter.empty:
        return schema
    try:
        to_json(described.default)
    except ValueError:
        return schema
    default = described.default.value if isinstance(described.default, Enum) else described.default
    return {**schema, "default": default}


def _scalar(hint: object) -> JsonType:
    name, accepted = _SCALARS[hint]

    def read(value: object) -> object:
        # bool is a kind of int in Python, and not in JSON.
        if not isinstance(value, accepted) or (isinstance(value, bool) and name != "boolean"):
            # To JSON, 2.0 is an integer.
            if name == "integer" and isinstance(value, float) and value.is_integer():
                return int(value)
            raise Mismatch(f"must be {name}")
        return float(value) if hint is float and isinstance(value, int) else value

    return JsonType({"type": name}, read)


def _enum(hint: type[Enum]) -> JsonType:
    by_value = {to_json(member.value): member for member in hint}
    return _choice([member.value for member in hint], by_value)


def _literal(values: tuple[Any, ...]) -> JsonType:
    plain = [value.value if isinstance(value, Enum) else value for value in values]
    return _choice(plain, {to_json(each): value for each, value in zip(plain, values, strict=True)})


def _choice(values: list[Any], by_json: Mapping[str, object]) -> JsonType:
    def read(value: object) -> object:
        try:
            return by_json[to_json(value)]
        except (KeyError, ValueError):
            raise Mismatch(f"must be one of {', '.join(by_json)}") from None

    kinds = {_SCALARS[type(value)][0] for value in values if type(value) in _SCALARS}
    schema: Schema = {"enum": values}
    return JsonType({"type": kinds.pop(), **schema} if len(kinds) == 1 else schema, read)


def _elements(value: object) -> list[tuple[int, Any]]:
    if not isinstance(value, list):
        raise Mismatch("must be an array")
    return list(enumerate(value))


def _members(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Mismatch("must be an object")
    return value


def _within(step: str, read: Read, value: object) -> object:
    try:
        return read(value)
    except Mismatch as error:
        text = str(error)
        separator = "" if text.startswith((".", "[")) else " "
        raise Mismatch(f"{step}{separator}{text}") from None
