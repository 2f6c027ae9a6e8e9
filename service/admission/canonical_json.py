"""Whole numbers in canonical JSON, the text whose digest names a call's arguments.

Invariant: arguments that differ in a whole number differ in their text, however long it is. A parser that makes a
floating-point number of those beyond 64 bits gives two of them one text, and a cache one result.
"""

from __future__ import annotations

import json

from service.domain.json_members import LARGEST_WHOLE, SMALLEST_WHOLE

ROUNDED = b"e+"
"""Stands in what orjson writes of any number so large that it may have been a whole one before it was parsed."""


def with_whole_numbers(canonical: bytes, text: str) -> bytes:
    """The canonical form of JSON text of which orjson made `canonical`: another where that rounded a whole number.

    Raises ValueError and RecursionError for text that Python does not read.
    """
    has_rounded = False

    def whole(digits: str) -> int:
        nonlocal has_rounded
        number = int(digits)
        has_rounded = has_rounded or not SMALLEST_WHOLE <= number <= LARGEST_WHOLE
        return number

    value = json.loads(text, parse_int=whole)
    if not has_rounded:
        return canonical
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
