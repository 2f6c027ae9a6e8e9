"""A tool function's parameters: the schema of its arguments, and how JSON arguments become a call."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from podium.context import Context
from podium.errors import ToolFailed
from podium.json_text import from_json, to_json
from podium.json_types import Field, JsonTypes, Mismatch, Read, UnsupportedHint

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAMED = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes and gives."""

    input_schema_json: str
    output_schema_json: str
    """Empty when the function does not say what it returns, or JSON Schema cannot."""
    _read: Read
    _context_name: str

    @classmethod
    def of(cls, function: Callable[..., object]) -> Signature:
        """Derives the schemas from the function's type hints; raises TypeError for what has no JSON form."""
        hints = _hints(function)
        fields: dict[str, Field] = {}
        context_name = ""
        for name, parameter in inspect.signature(function).parameters.items():
            hint = hints.get(name, inspect.Parameter.empty)
            if parameter.kind not in _NAMED:
                raise TypeError(f"{_name(function)}: {name} has no name of its own; a tool's arguments are named")
            if hint is Context:
                context_name = name
            else:
                fields[name] = Field(hint, parameter.default, required=parameter.default is inspect.Parameter.empty)
        json_types = JsonTypes()
        for name, each in fields.items():
            try:
                json_types.of(each.hint)
            except (UnsupportedHint, NameError) as error:
                raise TypeError(f"{_name(function)}: {name}: {error}") from None
        arguments = json_types.object(fields)
        schema = {"$schema": DIALECT, **arguments.schema}
        if json_types.definitions:
            schema["$defs"] = json_types.definitions
        return cls(to_json(schema), _output_schema(function, hints), arguments.read, context_name)

    def bind(self, arguments_json: str, context: Callable[[], Context]) -> dict[str, Any]:
        """Returns the keywords to call the function with. `context` is called only where the function takes one."""
        try:
            keywords: dict[str, Any] = self._read(from_json(arguments_json))
        except (Mismatch, ValueError) as error:
            message = str(error).removeprefix(".")
            raise ToolFailed(f"invalid arguments: {message}", reason="INVALID_ARGUMENTS", retryable=False) from None
        if self._context_name:
            keywords[self._context_name] = context()
        return keywords


def description(function: Callable[..., object]) -> str:
    """Returns the first paragraph of the function's docstring on one line."""
    documentation = inspect.getdoc(function) or ""
    return " ".join(documentation.partition("\n\n")[0].split())


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        message = f"{_name(function)}: {error}; the types of a tool's parameters must be known in its module"
        raise TypeError(message) from None


def _output_schema(function: Callable[..., object], hints: dict[str, Any]) -> str:
    if "return" not in hints or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return ""
    json_types = JsonTypes()
    try:
        schema = json_types.of(hints["return"]).schema
    except (UnsupportedHint, NameError):
        return ""
    if not schema:
        return ""
    return to_json(
        {"$schema": DIALECT, **schema, **({"$defs": json_types.definitions} if json_types.definitions else {})}
    )


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", repr(function))
