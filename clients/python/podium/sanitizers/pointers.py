"""Where the references of a JSON Schema lead, for those that look for marks in it.

A reference is followed or it is an error, and it means what it means to the validator: a pointer that would have to
be percent-decoded is refused, because two readers of it may disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class NoPointer(ValueError):
    """A reference that is not followed. The message says why, to follow a colon."""


def pointed_at(schema: Mapping[str, Any], target: object) -> object:
    """What a reference names. Raises NoPointer."""
    if target == "#":
        return schema
    if not isinstance(target, str) or not target.startswith("#/") or "%" in target:
        raise NoPointer("a schema with marks must refer by a plain pointer such as #/$defs/name")
    found: Any = schema
    for part in target[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise NoPointer("the schema refers to something that is not there") from None
    return found


class Marks:
    """Looks for what is marked in the parts of one schema and where their references lead.

    What was looked through without a find is not looked at again, so that all parts together take linear time.
    """

    def __init__(self, schema: Mapping[str, Any], is_marked: Callable[[Mapping[str, Any]], bool]) -> None:
        self._schema = schema
        self._is_marked = is_marked
        self._unmarked: set[int] = set()

    def within(self, part: object) -> bool:
        """Whether there is something marked. Raises NoPointer.

        A property of a mark's name counts too: it says yes too often, not too seldom.
        """
        seen: set[int] = set()
        pending = [part]
        while pending:
            each = pending.pop()
            if isinstance(each, Mapping):
                if id(each) in seen or id(each) in self._unmarked:
                    continue
                if self._is_marked(each):
                    return True
                seen.add(id(each))
                pending.extend(self._below(each))
            elif isinstance(each, list | tuple):
                pending.extend(each)
        self._unmarked |= seen
        return False

    def _below(self, schema: Mapping[str, Any]) -> Iterator[object]:
        if isinstance(target := schema.get("$ref"), str):
            yield pointed_at(self._schema, target)
        if isinstance(schema.get("$dynamicRef"), str):
            raise NoPointer("a schema with marks must not use $dynamicRef; use $ref")
        yield from schema.values()
