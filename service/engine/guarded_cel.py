"""Google's CEL library behind guards, because it is young: this is the only module that knows it.

The library crashes the process on values nested some thousand levels deep, so nothing reaches it that did not pass
through `orjson.dumps`, which refuses those, lone surrogates, integers beyond 64 bits and what is no JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from cel_expr_python import cel

from podium.sanitizers.patterns import ExpressionRefused
from service.admission.linear_regex import program_size
from service.domain.expression_scan import ExpressionError, Read, error_at, tokenise
from service.domain.json_members import LARGEST_WHOLE, SMALLEST_WHOLE

_PLACE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_CODE = re.compile(r"^[A-Z_]+: ")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MESSAGE_LENGTH = 200
_LOOKED_AT_MAX = 10_000
"""So many values are looked at for the one that cannot be read."""
_PATTERN_SIZE_MAX = 300
"""Instructions of a pattern: each may look at every byte of a text."""
_SEARCHED_BYTES_MAX = 4096
"""Bytes of values that a condition with a pattern may read."""

ANYTHING = cel.Type.DYN
TEXT = cel.Type.STRING
TIME = cel.Type.TIMESTAMP
MEMBERS = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)

Tree = dict[str, Any]
"""What of a value is wanted: the trees of members by their names with a dot before them, and whether `whole` is."""


class Language:
    """CEL with these variables, and expressions of at most `text_limit_bytes` that give a bool."""

    def __init__(self, variables: Mapping[str, Any], text_limit_bytes: int) -> None:
        self._environment = cel.NewEnv(variables=dict(variables))
        self._text_limit_bytes = text_limit_bytes

    def check_size(self, text: str) -> None:
        """Raise ExpressionError for a text over the limit, before it costs anything else."""
        if len(text) > self._text_limit_bytes or len(text.encode(errors="replace")) > self._text_limit_bytes:
            raise ExpressionError(f"it is larger than {self._text_limit_bytes} bytes")

    def check_patterns(self, text: str) -> bool:
        """Whether a text whose size was checked has patterns. Raises ExpressionError for one that may cost too much."""
        tokens = tokenise(text)
        found = [index for index, token in enumerate(tokens) if token.text == "matches"]
        found = [index for index in found if tokens[index + 1].text == "("]
        for index in found:
            place, literal = tokens[index].offset, tokens[index + 2]
            # Otherwise who chooses the value would choose the pattern.
            if tokens[index - 1].text != "." or literal.kind != "string" or tokens[index + 3].text != ")":
                raise error_at(text, place, "matches is written TEXT.matches('PATTERN'), with the pattern as it is")
            try:
                size = program_size(str(self._environment.compile(literal.text).eval(data={}).value()))
            except ExpressionRefused as refused:
                raise error_at(text, place, f"a pattern {refused}") from None
            except Exception as error:  # noqa: BLE001 - whatever the library raises, the expression failed
                raise _explained(str(error)) from None
            if size > _PATTERN_SIZE_MAX:
                raise error_at(text, place, "a pattern is too complex: use smaller counts, or several conditions")
        if found and any(token.text == "+" for token in tokens):
            raise error_at(text, tokens[found[0]].offset, "matches cannot be in one condition with +")
        return bool(found)

    def compile(self, text: str) -> Program:
        """Compile and type-check a text whose size was checked. Raises ExpressionError."""
        try:
            compiled = self._environment.compile(text)
            kind = compiled.return_type().name()
        except Exception as error:  # noqa: BLE001 - whatever the library raises, the expression failed
            raise _explained(str(error)) from None
        if kind not in ("BOOL", "DYN"):
            raise ExpressionError(f"the result is of type {kind.lower()}, not bool")
        return Program(compiled)


class Program:
    """A compiled expression."""

    __slots__ = ("_compiled",)

    def __init__(self, compiled: cel.Expression) -> None:
        self._compiled = compiled

    def evaluate(self, data: Mapping[str, object]) -> bool:
        """Evaluate over data of which whatever came from outside passed `json_of`. Raises ExpressionError."""
        try:
            result = self._compiled.eval(data=data)
            kind = result.type().name()
            value = result.value()
        except Exception as error:  # noqa: BLE001 - whatever the library raises, the expression failed
            raise _explained(str(error)) from None
        if kind == "ERROR":
            raise _explained(str(value))
        if kind != "BOOL":
            raise ExpressionError(f"the result is of type {kind.lower()}, not bool")
        return bool(value)


def json_of(value: object) -> bytes:
    """The JSON text of a value. Raises ExpressionError for one that the library must not see."""
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError) as error:
        if place := _place_beyond_64_bits(value):
            problem = f"{place} is a whole number beyond 64 bits, which no condition reads: let it be given as a string"
            raise ExpressionError(problem) from None
        raise ExpressionError(f"a value cannot be read: {error}") from None


def _place_beyond_64_bits(data: object) -> str:
    """The place of the first such number in data, as an expression writes it; empty: none is found."""
    below = [iter([("", data)])]
    for _ in range(_LOOKED_AT_MAX):
        if (found := next(below[-1], None)) is None:
            below.pop()
            if not below:
                return ""
            continue
        place, value = found
        if isinstance(value, int) and not SMALLEST_WHOLE <= value <= LARGEST_WHOLE:
            return place.removeprefix(".")
        if isinstance(value, Mapping | list):
            below.append(_places(place, value))
    return ""


def _places(place: str, value: Mapping[str, object] | list[object]) -> Iterator[tuple[str, object]]:
    """What is in a value, each with its place, which is cut: what is below a long name would else repeat it."""
    if isinstance(value, list):
        for index, element in enumerate(value):
            yield f"{place}[{index}]"[:_MESSAGE_LENGTH], element
    else:
        for name, member in value.items():
            cut = str(name)[:_MESSAGE_LENGTH]
            told = f".{cut}" if _NAME.fullmatch(cut) else f"[{json.dumps(cut)}]"
            yield f"{place}{told}"[:_MESSAGE_LENGTH], member


def check_data(data: object, limit_bytes: int) -> None:
    """Raise ExpressionError for data that the library must not see, or that is too large to convert."""
    if len(json_of(data)) > limit_bytes:
        raise ExpressionError(f"it reads more than {limit_bytes} bytes of values; name smaller parts")


def searched_limit(limit_bytes: int, *, has_patterns: bool) -> int:
    """How many bytes of values a condition may read."""
    return min(limit_bytes, _SEARCHED_BYTES_MAX) if has_patterns else limit_bytes


def check_repeated(value: object, name: str, limit_bytes: int) -> None:
    """Raise ExpressionError for a value that is too large to be read once for each element of a list."""
    if len(json_of(value)) > limit_bytes:
        raise ExpressionError(
            f"{name} is larger than {limit_bytes} bytes, too large to be read inside of all or exists"
        )


def tree_of(reads: Iterable[Read]) -> Tree:
    """What reads of one value want of it."""
    tree: Tree = {}
    for read in reads:
        node = tree
        for member in read.path:
            node = node.setdefault(f".{member}", {})
        node["whole"] = node.get("whole", False) or read.whole
    return tree


def project(value: object, tree: Tree) -> object:
    """The part of `value` that `tree` asks for. What is not asked for keeps its type and loses its contents."""
    if tree.get("whole") or value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, Mapping):
        return {
            member[1:]: project(value[member[1:]], below)
            for member, below in tree.items()
            if member[0] == "." and member[1:] in value
        }
    if isinstance(value, int):
        # It may be one that cannot be read.
        return 0
    return "" if isinstance(value, str) else []


def member_of(value: object, path: Iterable[str]) -> object:
    """What a path leads to; null where it ends early."""
    for member in path:
        value = value.get(member) if isinstance(value, dict) else None
    return value


def _explained(message: str) -> ExpressionError:
    """The library's first complaint, without its status codes and drawings."""
    place = _PLACE.search(message)
    if place is None:
        return ExpressionError(_CODE.sub("", message).split("\n")[0][:_MESSAGE_LENGTH])
    line, column = int(place[1]), int(place[2])
    problem = place[3].removesuffix(" [INVALID_ARGUMENT]").split(" expecting {")[0]
    return ExpressionError(problem[:_MESSAGE_LENGTH], max(line, 0), max(column, 0))
