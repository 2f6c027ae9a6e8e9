"""A tool function's parameters: the schema of its arguments, and how JSON arguments become a call."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Sequence
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
    _batch_name: str = ""
    """The parameter that has a list of calls, in a function that takes them so; contexts are a list then, too."""

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

    @classmethod
    def of_batch(cls, function: Callable[..., object]) -> Signature:
        """Derives the schemas of one call from a function that takes and gives lists of them.

        It takes list[X], X a dataclass, a TypedDict or a dict with text for names; it may take list[Context] beside it.
        Raises TypeError for any other.
        """
        hints = _hints(function)
        lists = {name: _element(hints.get(name)) for name in inspect.signature(function).parameters}
        contexts = [name for name, element in lists.items() if element is Context]
        calls = [name for name, element in lists.items() if element is not None and element is not Context]
        if len(calls) != 1 or len(contexts) > 1 or len(calls) + len(contexts) != len(lists):
            raise TypeError(
                f"{_name(function)}: a batch is taken as one list of calls, and maybe a list[podium.Context]"
            )
        json_types = JsonTypes()
        try:
            call = json_types.of(lists[calls[0]])
        except (UnsupportedHint, NameError) as error:
            raise TypeError(f"{_name(function)}: {calls[0]}: {error}") from None
        reference = str(call.schema.get("$ref", "")).rpartition("/")[2]
        schema = {"$schema": DIALECT, **json_types.definitions.get(reference, call.schema)}
        if schema.get("type") != "object":
            raise TypeError(f"{_name(function)}: {calls[0]}: a call's arguments are an object; let X be a dataclass")
        if json_types.definitions:
            schema["$defs"] = json_types.definitions
        output = _output_schema(function, {"return": _result(_element(hints.get("return")))})
        return cls(to_json(schema), output, call.read, "".join(contexts), calls[0])

    def bind(self, arguments_json: str, context: Callable[[], Context]) -> dict[str, Any]:
        """Returns the keywords to call the function with. `context` is called only where the function takes one."""
        keywords: dict[str, Any] = self.read(arguments_json)
        if self._context_name:
            keywords[self._context_name] = context()
        return keywords

    def read(self, arguments_json: str) -> Any:  # noqa: ANN401 -- keywords, or what stands for one call in a batch
        """Returns the arguments of one call. Raises ToolFailed."""
        try:
            return self._read(from_json(arguments_json))
        except (Mismatch, ValueError) as error:
            message = str(error).removeprefix(".")
            raise ToolFailed(f"invalid arguments: {message}", reason="INVALID_ARGUMENTS", retryable=False) from None

    def batched(self, calls: list[object], contexts: list[Context]) -> dict[str, Any]:
        """Returns the keywords to call the function of a batch with."""
        return {self._batch_name: calls, **({self._context_name: contexts} if self._context_name else {})}


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


def _element(hint: object) -> Any:  # noqa: ANN401 -- a hint
    """What a list is of, as a hint; None for what is no list."""
    elements = typing.get_args(hint)
    return elements[0] if typing.get_origin(hint) in {list, Sequence} and elements else None


def _result(hint: object) -> object:
    """What one call gives when it succeeds: an exception in a list of results is a failure."""
    if typing.get_origin(hint) not in {typing.Union, types.UnionType}:
        return hint
    members = [each for each in typing.get_args(hint) if not (isinstance(each, type) and issubclass(each, Exception))]
    return typing.Union[tuple(members)]  # noqa: UP007 -- of as many as there are


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", repr(function))
