"""Expressions that are searched for in what comes in and goes out, in linear time: see podium.sanitizers.patterns.

Texts are searched as UTF-8; bytes that are none match nothing.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from podium.sanitizers.patterns import ExpressionRefused, compile_linear


class Expression(Protocol):
    """A compiled expression."""

    def search(self, text: str | bytes, /) -> object:
        """Whether it is found anywhere; None if not."""


def compile_expression(expression: str) -> Expression:
    """Compile an expression that is not found everywhere. Raises ExpressionRefused."""
    if not expression:
        raise ExpressionRefused("is empty, and would be found everywhere")
    compiled = compile_linear(expression)
    if compiled.search("") is not None:
        raise ExpressionRefused("is found in an empty text, and would be found everywhere")
    return cast("Expression", compiled)


def program_size(expression: str) -> int:
    """Instructions of an expression, each of which may cost every byte that is searched. Raises ExpressionRefused."""
    return int(cast("Any", compile_linear(expression)).programsize)


def spans(expression: Expression, data: bytes) -> list[tuple[int, int]]:
    """Where it is found in UTF-8, as offsets of bytes, from left to right and without overlaps."""
    return [found.span() for found in expression.finditer(data)]  # type: ignore[attr-defined]  # of RE2's own class
