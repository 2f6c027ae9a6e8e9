"""Bounds the nesting of JSON text before anything parses it: parsers and validators recurse, and some crash."""

from __future__ import annotations

import re

STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A JSON string. One that does not end is taken to the end of the text: to look for an end again from each of its
quotes would be quadratic."""
_BRACKETS_ALIKE = bytes.maketrans(b"{}", b"[]")
_OTHER = bytes(set(range(256)) - set(b'[]{},"'))


def nested_within(text: str, depth_limit: int) -> bool:
    """Whether no value in the JSON text lies inside of more than `depth_limit` arrays and objects.

    A scalar has the depth 0. For text that is not JSON the answer means nothing, but it comes in linear time.
    """
    if text.count("[") + text.count("{") <= depth_limit:
        return True
    rest = skeleton(text).replace(b",", b"")
    for _ in range(depth_limit):
        # Each pass removes exactly the innermost level: what it joins is not looked at again.
        rest = rest.replace(b"[]", b"")
        if not rest:
            return True
    return not rest


def skeleton(text: str) -> bytes:
    """The commas and the brackets of JSON text that are in none of its strings; those of objects as those of arrays."""
    # A backslash that is escaped first: what is left of a run of them then escapes the quote behind it, or does not.
    bare = text.replace("\\\\", "").replace('\\"', "") if "\\" in text else text
    rest = bare.encode(errors="surrogatepass").translate(_BRACKETS_ALIKE, _OTHER)
    outside = rest.replace(b'""', b"")
    # Where all quotes went in pairs, each run of them was even, and so what is between two runs is in no string.
    return b"".join(rest.split(b'"')[::2]) if b'"' in outside else outside
