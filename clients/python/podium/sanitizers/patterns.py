"""Regular expressions for values of strangers, in an engine whose time grows with the text and never explodes.

Neither look-around nor back references exist in it: they are what makes the others explode.
"""

from __future__ import annotations

import re2

from podium.sanitizers.declaration import SpecificationRefused
from podium.sanitizers.text import Searchable

_MEMORY_MAX_BYTES = 8 * 1024 * 1024
_LENGTH_MAX = 4096


class Pattern(Searchable):
    """A compiled expression."""

    def __init__(self, expression: str) -> None:
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MEMORY_MAX_BYTES
        if len(expression) > _LENGTH_MAX:
            raise SpecificationRefused(f"a pattern must not be longer than {_LENGTH_MAX} characters")
        try:
            self._compiled = re2.compile(expression, options)
        except re2.error:
            raise SpecificationRefused(
                "a pattern is not understood: there is no look-around and no back reference (RE2 syntax)"
            ) from None

    def search(self, text: str, /) -> object:
        """A match anywhere in the text; None if there is none."""
        found: object = self._compiled.search(text)
        return found

    def fits(self, text: str) -> bool:
        """Whether it matches the text as a whole."""
        return self._compiled.fullmatch(text) is not None
