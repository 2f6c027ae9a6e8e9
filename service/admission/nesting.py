"""Bounds the nesting of JSON text before anything parses it: parsers and validators recurse, and some crash."""

from __future__ import annotations

import re

STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A JSON string. One that does not end is taken to the end of the text: to look for an end again from each of its
quotes would be quadratic."""
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_QUOTED = re.compile(rb'"[^"]*+(?:"|\Z)')
_BRACKETS_ALIKE = bytes.maketrans(b"{}", b"[]")
_OTHER = bytes(set(range(256)) - set(b'[]{}"'))


def nested_within(text: str, depth_limit: int) -> bool:
    """Whether no value in the JSON text lies inside of more than `depth_limit` arrays and objects.

    A scalar has the depth 0. For text that is not JSON the answer means nothing, but it comes in linear time.
    """
    if text.count("[") + text.count("{") <= depth_limit:
        return True
    bare = _ESCAPE.sub("", text) if "\\" in text else text
    rest = _QUOTED.sub(b"", bare.encode(errors="surrogatepass").translate(_BRACKETS_ALIKE, _OTHER))
    for _ in range(depth_limit):
        # Each pass removes exactly the innermost level: what it joins is not looked at again.
        rest = rest.replace(b"[]", b"")
        if not rest:
            return True
    return not rest
