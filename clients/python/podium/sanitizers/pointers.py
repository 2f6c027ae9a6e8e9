"""Where the references of a JSON Schema lead, for those that look for marks in it.

A reference is followed or it is an error, and it means what it means to the validator: a pointer that would have to
be percent-decoded is refused, because two readers of it may disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def leads_to(schema: Mapping[str, Any], below: object, marked: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Whether there is something marked in a part of a schema or where its references lead. Raises NoPointer.

    A property of a mark's name counts too: it says yes too often, not too seldom.
    """
    seen: set[int] = set()
    pending = [below]
    while pending:
        each = pending.pop()
        if isinstance(each, Mapping):
            if marked(each):
                return True
            if id(each) in seen:
                continue
            seen.add(id(each))
            if isinstance(target := each.get("$ref"), str):
                pending.append(pointed_at(schema, target))
            if isinstance(each.get("$dynamicRef"), str):
                raise NoPointer("a schema with marks must not use $dynamicRef; use $ref")
            pending.extend(each.values())
        elif isinstance(each, list | tuple):
            pending.extend(each)
    return False
