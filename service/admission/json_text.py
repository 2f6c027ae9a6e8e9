"""JSON text in its compact form, read by the quick parser wherever nothing of it is lost to that.

The quick parser keeps one of two members of one name, and makes floats of whole numbers beyond 64 bits. What holds the
former is left to whoever tells so, and what may hold the latter is read again.
"""

from __future__ import annotations

import json

import orjson

from service.domain.json_members import loses_member
from service.domain.templates import TemplateError, write_json

_ALL_DIGITS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
"""What has fewer digits fits into 64 bits."""


def compact(text: str) -> str | None:
    """The JSON text without white space and needless escapes; None: a member is given twice.

    Raises TemplateError for what is no JSON. The text must be within the bounds on depth, because the quick parser has
    one of its own.
    """
    try:
        data = orjson.dumps(orjson.loads(text))
    except (ValueError, TypeError) as error:
        problem = "it holds half of a surrogate pair" if "surrogate" in str(error) else str(error)
        raise TemplateError(f"is not valid JSON: {problem}") from None
    given = text.encode()
    if data == given:
        return text
    if loses_member(given, data):
        return None
    if _LONG_NUMBER in given.translate(_ALL_DIGITS_ZERO):
        return write_json(json.loads(text))
    return data.decode()
