"""Regular expressions of linear time, by RE2: what an operator writes, or an attacker aims at, costs what reading does.

There is no look-around and no back reference. Texts are searched as UTF-8; bytes that are none match nothing.
"""

from __future__ import annotations

from typing import Protocol, cast

import re2

EXPRESSION_LIMIT_BYTES = 4 * 1024
_PROGRAM_MAX = 20_000
"""Instructions of a compiled expression: nested counts make a short one large."""


class ExpressionRefused(ValueError):
    """An expression that is not let in. The message says why."""


class Expression(Protocol):
    """A compiled expression."""

    def search(self, text: str | bytes, /) -> object:
        """Whether it is found anywhere; None if not."""


def compile_expression(expression: str) -> Expression:
    """Compile an expression for texts and their bytes. Raises ExpressionRefused."""
    if not expression:
        raise ExpressionRefused("is empty, and would be found everywhere")
    if len(expression.encode()) > EXPRESSION_LIMIT_BYTES:
        raise ExpressionRefused(f"is larger than {EXPRESSION_LIMIT_BYTES} bytes")
    options = re2.Options()
    options.log_errors = False
    # Groups are of no interest, and without them a search is one pass.
    options.never_capture = True
    try:
        compiled = re2.compile(expression, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ExpressionRefused(f"is no expression of RE2: {text}") from None
    if compiled.programsize > _PROGRAM_MAX:
        raise ExpressionRefused("is too complex: use smaller counts")
    if compiled.search("") is not None:
        raise ExpressionRefused("is found in an empty text, and would be found everywhere")
    return cast("Expression", compiled)


def program_size(expression: str) -> int:
    """Instructions of an expression, each of which may cost every byte that is searched. Raises ExpressionRefused."""
    options = re2.Options()
    options.log_errors = False
    try:
        return int(re2.compile(expression, options).programsize)
    except re2.error:
        raise ExpressionRefused("is no expression of RE2") from None


def spans(expression: Expression, data: bytes) -> list[tuple[int, int]]:
    """Where it is found in UTF-8, as offsets of bytes, from left to right and without overlaps."""
    return [found.span() for found in expression.finditer(data)]  # type: ignore[attr-defined]  # of RE2's own class
