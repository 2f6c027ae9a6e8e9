"""Conditions: CEL expressions over a workflow's input and its steps, behind a port.

An expression sees only the steps it names, and its outcome is recorded: nothing is evaluated while events are folded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol, TypedDict

from service.domain.expression_scan import ExpressionError, Read, Token, error_at, scan, tokenise

__all__ = ["ExpressionError", "Expressions", "Reads", "StepView", "find_reads", "from_shorthand", "referenced_steps"]

_SHORTHAND_DEPTH = 32


class StepView(TypedDict):
    """What an expression sees of a step: its output, null unless it succeeded, and its state in lower case."""

    output: object
    state: str


class Expressions(Protocol):
    """Checks and evaluates conditions. Both methods raise ExpressionError."""

    def check(self, text: str) -> frozenset[str]:
        """Compile `text`, which must give a bool, and return the ids of the steps it names."""

    def evaluate(self, text: str, input: object, steps: Mapping[str, StepView]) -> bool:  # noqa: A002 - CEL's own name
        """Evaluate `text` over the workflow's input, as parsed JSON, and at least the steps that `text` names."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Everything an expression reads."""

    input: tuple[Read, ...]
    steps: Mapping[str, tuple[Read, ...]]


@lru_cache(maxsize=4096)
def find_reads(text: str) -> Reads:
    """Find what the CEL expression `text` reads. Raises ExpressionError for a use that cannot be followed."""
    found: dict[str, list[Read]] = {}
    for read in scan(text):
        found.setdefault(read.step, []).append(read)
    inputs = tuple(found.pop("", ()))
    return Reads(inputs, {step: tuple(reads) for step, reads in found.items()})


def referenced_steps(text: str) -> frozenset[str]:
    """The ids of the steps that the CEL expression `text` names. Raises ExpressionError."""
    return frozenset(find_reads(text).steps)


def from_shorthand(text: str) -> str:
    """Translate `step_1 is not None`, `is None`, `and`, `or`, `not` and brackets to CEL.

    A text without `is` is CEL already and comes back as it is. Raises ExpressionError for a mixture of both.
    """
    tokens = tokenise(text)
    if not any(token.text == "is" and before.text != "." for before, token in pairwise(tokens)):
        return text
    return _Shorthand(text, tokens).translate()


class _Shorthand:
    """Translates by recursive descent, with Python's precedence: `not` before `and` before `or`."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._index = 1
        self._depth = 0

    def translate(self) -> str:
        cel = self._either()
        if self._tokens[self._index].kind != "edge":
            raise self._error("expected and, or or the end")
        return cel

    def _error(self, problem: str) -> ExpressionError:
        message = f"{problem}: a condition with is holds only NAME is None, NAME is not None, and, or, not and brackets"
        return error_at(self._text, self._tokens[self._index].offset, message)

    def _took(self, word: str) -> bool:
        if self._tokens[self._index].text != word:
            return False
        self._index += 1
        return True

    def _either(self) -> str:
        parts = [self._both()]
        while self._took("or"):
            parts.append(self._both())
        return " || ".join(parts)

    def _both(self) -> str:
        parts = [self._one()]
        while self._took("and"):
            parts.append(self._one())
        return " && ".join(parts)

    def _one(self) -> str:
        self._depth += 1
        if self._depth > _SHORTHAND_DEPTH:
            raise self._error("nested too deeply")
        if self._took("not"):
            cel = f"!({self._one()})"
        elif self._took("("):
            cel = f"({self._either()})"
            if not self._took(")"):
                raise self._error("expected )")
        else:
            cel = self._comparison()
        self._depth -= 1
        return cel

    def _comparison(self) -> str:
        name = self._tokens[self._index]
        if name.kind != "name":
            raise self._error("expected the name of a step")
        self._index += 1
        if not self._took("is"):
            raise self._error("expected is")
        sign = "!=" if self._took("not") else "=="
        if not self._took("None"):
            raise self._error("expected None")
        return f'steps["{name.text}"].output {sign} null'
