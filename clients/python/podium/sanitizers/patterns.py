"""Regular expressions of linear time, by RE2: what an operator writes, or an attacker aims at, costs what reading does.

Neither look-around nor back references exist in it: they are what makes other engines explode.
"""

from __future__ import annotations

from typing import Any

import re2

from podium.sanitizers.declaration import SpecificationRefused
from podium.sanitizers.text import Searchable

EXPRESSION_LIMIT_BYTES = 4 * 1024
_PROGRAM_MAX = 20_000
"""Instructions of a compiled expression: nested counts make a short one large."""
_MEMORY_MAX_BYTES = 8 * 1024 * 1024


class ExpressionRefused(ValueError):
    """An expression that is not let in. The message says why, to follow its name."""


def compile_linear(expression: str) -> Any:  # noqa: ANN401 - RE2's own class, which has no types
    """Compile an expression for texts and their bytes. Raises ExpressionRefused."""
    if len(expression.encode()) > EXPRESSION_LIMIT_BYTES:
        raise ExpressionRefused(f"is larger than {EXPRESSION_LIMIT_BYTES} bytes")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_MAX_BYTES
    # Groups are of no interest, and without them a search is one pass.
    options.never_capture = True
    try:
        compiled = re2.compile(expression, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ExpressionRefused(
            f"is no expression of RE2, which has no look-around and no back reference: {text}"
        ) from None
    if compiled.programsize > _PROGRAM_MAX:
        raise ExpressionRefused("is too complex: use smaller counts")
    return compiled


class Pattern(Searchable):
    """An expression of a declaration, compiled."""

    def __init__(self, expression: str) -> None:
        try:
            self._compiled = compile_linear(expression)
        except ExpressionRefused as refused:
            raise SpecificationRefused(f"a pattern {refused}") from None

    def search(self, text: str, /) -> object:
        """A match anywhere in the text; None if there is none."""
        found: object = self._compiled.search(text)
        return found

    def fits(self, text: str) -> bool:
        """Whether it matches the text as a whole."""
        return self._compiled.fullmatch(text) is not None
