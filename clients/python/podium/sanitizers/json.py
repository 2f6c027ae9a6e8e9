"""A text that must be JSON, of a schema if there is one. Limits come before what they protect.

JSON that two parsers could read differently is refused: a member twice, NaN and infinities, half a surrogate pair.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from podium.sanitizers.declaration import Options
from podium.sanitizers.rejection import Rejected, text_of

KIND = "json"
_LENGTH_DEFAULT = 65_536
_LENGTH_MAX = 8 * 1024 * 1024
_DEPTH_MAX = 64
_VALUES_MAX = 1_000_000
# One that does not end is taken to the end of the text: to look for its end again from each quote would be quadratic.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BACKTRACK_MAX = 100_000


class JsonSanitizer:
    """Refuses what is no JSON within its limits; a text that passes is returned as it is.

    Options: `schema`, JSON Schema of draft 2020-12 without remote references; `max_length` in characters, `max_depth`
    of arrays and objects, `max_values` (members and elements altogether), `max_string` for each text.
    """

    kind = KIND

    def __init__(self, options: Mapping[str, object]) -> None:
        read = Options(KIND, options)
        schema = read.schema("schema")
        self._length_max = read.number("max_length", _LENGTH_DEFAULT, _LENGTH_MAX)
        self._depth_max = read.number("max_depth", 32, _DEPTH_MAX)
        self._values_max = read.number("max_values", 10_000, _VALUES_MAX)
        self._string_max = read.number("max_string", _LENGTH_DEFAULT, _LENGTH_MAX)
        read.close()
        try:
            self._validator = None if schema is None else _validator(schema)
        except (ValueError, jsonschema_rs.ReferencingError):
            raise read.refuse(
                "schema", "must be a valid JSON Schema of draft 2020-12 without remote references"
            ) from None

    def check(self, value: object) -> str:
        """Return the text, or raise Rejected."""
        text = text_of(KIND, value, self._length_max)
        self._refuse_size(text)
        try:
            found = json.loads(text, object_pairs_hook=_members, parse_float=_finite, parse_constant=_finite)
        except ValueError as error:
            if isinstance(error, Rejected):
                raise
            raise Rejected(KIND, "JSON_MALFORMED", "is not valid JSON") from None
        self._refuse_strings(found)
        if self._validator is not None and not self._validator.is_valid(found):
            raise Rejected(KIND, "JSON_SCHEMA", "does not satisfy its schema")
        return text

    def _refuse_size(self, text: str) -> None:
        """Before anything is parsed: parsers recurse, and build what the text asks for."""
        structure = _STRING.sub("", text)
        if structure.count(",") + structure.count("[") + structure.count("{") > self._values_max:
            raise Rejected(KIND, "JSON_TOO_MANY", f"holds more than {self._values_max} values")
        depth = 0
        for bracket in re.findall(r"[\[\]{}]", structure):
            depth += 1 if bracket in "[{" else -1
            if depth > self._depth_max:
                raise Rejected(KIND, "JSON_NESTING", f"is nested more than {self._depth_max} levels deep")

    def _refuse_strings(self, found: object) -> None:
        pending = [found]
        while pending:
            each = pending.pop()
            if isinstance(each, str):
                text_of(KIND, each, self._string_max)
            elif isinstance(each, list):
                pending.extend(each)
            elif isinstance(each, dict):
                pending.extend(each)
                pending.extend(each.values())


def _validator(schema: Mapping[str, object]) -> jsonschema_rs.Validator:
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_MAX)
    return jsonschema_rs.Draft202012Validator(dict(schema), offline=True, pattern_options=options)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Rejected(KIND, "JSON_DUPLICATE", "has an object with the same member twice")
    return members


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise Rejected(KIND, "JSON_MALFORMED", "holds a number that is not finite")
    return number
