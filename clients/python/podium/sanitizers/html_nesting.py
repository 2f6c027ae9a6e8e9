"""A bound on what markup makes a parser do, checked in linear time before one sees it.

Parsers of HTML are quadratic, or worse, in the depth of their input: 200,000 nested elements take minutes. And every
block that begins while formatting elements are open gets a copy of each of them: a hundred kilobytes can
become millions of elements.
"""

from __future__ import annotations

import re
from collections import Counter

DEPTH_MAX = 1000
"""Generated pages reach a few dozen."""
_COPIES_MAX = 1_000_000

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)")
# Without content, or with an end that authors leave out: many of them after one another are not nested.
_FLAT = frozenset(
    "area base body br col colgroup dd dt embed head hr html img input li link meta option p rp rt source tbody td "
    "tfoot th thead tr track wbr".split()
)
_FORMATTING = frozenset("a b big code em font i nobr s small strike strong tt u".split())


def is_nested_too_deeply(markup: str) -> bool:
    """Whether more elements are open at once, or would be copied, than any page needs."""
    open_elements: Counter[str] = Counter()
    depth = formatting = copies = 0
    for end, name in _TAG.findall(markup):
        tag = name.lower()
        copies += formatting
        if copies > _COPIES_MAX:
            return True
        if tag in _FLAT:
            continue
        if not end:
            open_elements[tag] += 1
            depth += 1
            formatting += tag in _FORMATTING
        elif open_elements[tag]:
            # The end of an element that was never begun makes no room for more.
            open_elements[tag] -= 1
            depth -= 1
            formatting -= tag in _FORMATTING
        if depth > DEPTH_MAX:
            return True
    return False
