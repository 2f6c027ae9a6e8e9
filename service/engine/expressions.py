"""Evaluates conditions with Google's CEL library, which is young: this is the only module that knows it.

The library crashes the process on values nested some thousand levels deep, so nothing reaches it that did not pass
through `orjson.dumps`, which refuses those, lone surrogates, integers beyond 64 bits and what is no JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import orjson
from cel_expr_python import cel

from service.domain.conditions import ExpressionError, StepView, find_reads
from service.domain.expression_scan import Read

_PLACE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_CODE = re.compile(r"^[A-Z_]+: ")
_MESSAGE_LENGTH = 200

Tree = dict[str, Any]
"""What of a value is wanted: the trees of members by their names with a dot before them, and whether `whole` is."""


@dataclass(frozen=True, slots=True)
class _Program:
    """A compiled expression and what it reads."""

    compiled: cel.Expression
    input: Tree
    steps: Mapping[str, Tree]
    repeated: tuple[Read, ...]


class CelExpressions:
    """Implements service.domain.conditions.Expressions. Not thread-safe.

    `text_limit_bytes` bounds an expression; `data_limit_bytes` bounds what one evaluation converts, as JSON text;
    `repeated_limit_bytes` bounds a value outside of a list that is read again for each of the list's elements.
    """

    def __init__(
        self,
        text_limit_bytes: int = 4096,
        data_limit_bytes: int = 64 * 1024,
        repeated_limit_bytes: int = 256,
        programs: int = 1024,
    ) -> None:
        self._text_limit_bytes = text_limit_bytes
        self._data_limit_bytes = data_limit_bytes
        self._repeated_limit_bytes = repeated_limit_bytes
        steps = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
        self._environment = cel.NewEnv(variables={"input": cel.Type.DYN, "steps": steps})
        self._program = lru_cache(maxsize=programs)(self._compile)

    def check(self, text: str) -> frozenset[str]:
        """Compile `text`, which must give a bool, and return the ids of the steps it names."""
        return frozenset(self._program(text).steps)

    def evaluate(self, text: str, input: object, steps: Mapping[str, StepView]) -> bool:  # noqa: A002 - CEL's own name
        """Evaluate `text` over the workflow's input, as parsed JSON, and at least the steps that `text` names."""
        program = self._program(text)
        try:
            views = {step: _project(steps[step], tree) for step, tree in program.steps.items()}
        except KeyError as error:
            raise ExpressionError(f"the step {error} is not known") from None
        data = {"input": _project(input, program.input), "steps": views}
        self._bound(data, program.repeated)
        try:
            result = program.compiled.eval(data=data)
            kind = result.type().name()
            value = result.value()
        except Exception as error:  # noqa: BLE001 - whatever the library raises, the expression failed
            raise _explained(str(error)) from None
        if kind == "ERROR":
            raise _explained(str(value))
        if kind != "BOOL":
            raise ExpressionError(f"the result is of type {kind.lower()}, not bool")
        return bool(value)

    def _compile(self, text: str) -> _Program:
        if len(text) > self._text_limit_bytes or len(text.encode(errors="replace")) > self._text_limit_bytes:
            raise ExpressionError(f"it is larger than {self._text_limit_bytes} bytes")
        reads = find_reads(text)
        try:
            compiled = self._environment.compile(text)
            kind = compiled.return_type().name()
        except Exception as error:  # noqa: BLE001 - whatever the library raises, the expression failed
            raise _explained(str(error)) from None
        if kind not in ("BOOL", "DYN"):
            raise ExpressionError(f"the result is of type {kind.lower()}, not bool")
        everything = (*reads.input, *chain.from_iterable(reads.steps.values()))
        return _Program(
            compiled=compiled,
            input=_tree(reads.input),
            steps={step: _tree(named) for step, named in reads.steps.items()},
            repeated=tuple(read for read in everything if read.repeated and read.whole),
        )

    def _bound(self, data: Mapping[str, object], repeated: tuple[Read, ...]) -> None:
        """Refuse what is too large to convert, or too large to be read once for each element of a list."""
        if len(_json(data)) > self._data_limit_bytes:
            raise ExpressionError(f"it reads more than {self._data_limit_bytes} bytes of values; name smaller parts")
        for read in repeated:
            if len(_json(_value(data, read))) > self._repeated_limit_bytes:
                name = ".".join((f"steps.{read.step}" if read.step else "input", *read.path))
                limit = f"{self._repeated_limit_bytes} bytes"
                raise ExpressionError(f"{name} is larger than {limit}, too large to be read inside of all or exists")


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"a value cannot be read: {error}") from None


def _value(data: Mapping[str, object], read: Read) -> object:
    """What a read finds; null where its path ends early."""
    value: Any = data["input"]
    if read.step:
        value = data["steps"]
        value = value[read.step]
    for member in read.path:
        value = value.get(member) if isinstance(value, dict) else None
    return value


def _tree(reads: Iterable[Read]) -> Tree:
    tree: Tree = {}
    for read in reads:
        node = tree
        for member in read.path:
            node = node.setdefault(f".{member}", {})
        node["whole"] = node.get("whole", False) or read.whole
    return tree


def _project(value: object, tree: Tree) -> object:
    """The part of `value` that `tree` asks for. What is not asked for keeps its type and loses its contents."""
    if tree.get("whole") or value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {
            member[1:]: _project(value[member[1:]], below)
            for member, below in tree.items()
            if member[0] == "." and member[1:] in value
        }
    return "" if isinstance(value, str) else []


def _explained(message: str) -> ExpressionError:
    """The library's first complaint, without its status codes and drawings."""
    place = _PLACE.search(message)
    if place is None:
        return ExpressionError(_CODE.sub("", message).split("\n")[0][:_MESSAGE_LENGTH])
    line, column = int(place[1]), int(place[2])
    problem = place[3].removesuffix(" [INVALID_ARGUMENT]").split(" expecting {")[0]
    return ExpressionError(problem[:_MESSAGE_LENGTH], max(line, 0), max(column, 0))
