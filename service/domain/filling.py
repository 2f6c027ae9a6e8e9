"""Filling templates: compiled once by their content, filled many times.

A compiled template is the JSON text around its holes and the holes, in order. What fills a hole is never scanned again.
"""

from __future__ import annotations

import json
from functools import lru_cache

from podium.v1 import definition_pb2 as pb
from service.domain.templates import Scope, TemplateError, compact_json, describe

FILLED_LIMIT_BYTES = 8 * 1024 * 1024
"""What references may add to a template; the largest value fits."""
_REMEMBERED_BYTES = 2048
"""Larger templates are compiled each time: to remember them would cost more than it saves."""


def fill(template: pb.Template, scope: Scope, limit_bytes: int = FILLED_LIMIT_BYTES) -> str:
    """Fill a template's holes and return the JSON text. Raises TemplateError for a path that leads nowhere.

    Raises TemplateError as soon as what fills the holes is longer than the limit, and another ValueError when a value
    that fills a hole is no JSON or is sealed.
    """
    data = template.SerializeToString()
    parts = _remembered(data) if len(data) <= _REMEMBERED_BYTES else _compile(template)
    if len(parts) == 1 and type(parts[0]) is str:
        return parts[0]
    filling = _Filling(scope, limit_bytes)
    return "".join([part if isinstance(part, str) else filling.text(part) for part in parts])


class _Hole:
    """A reference, taken apart."""

    __slots__ = ("path", "reference", "root")

    def __init__(self, reference: pb.Reference) -> None:
        self.reference = reference
        root = pb.Reference()
        root.CopyFrom(reference)
        del root.path[:]
        self.root = root.SerializeToString()
        self.path: list[str | int] = [
            element.member if element.WhichOneof("kind") == "member" else element.index for element in reference.path
        ]


_Interpolation = tuple["str | _Hole", ...]
"""Pieces of one string: text as it is, not as JSON, and holes."""
_Part = str | _Hole | _Interpolation
"""JSON text as it is, or what becomes some."""


@lru_cache(maxsize=4096)
def _remembered(data: bytes) -> tuple[_Part, ...]:
    return _compile(pb.Template.FromString(data))


def _compile(template: pb.Template) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    _add(parts, template)
    merged: list[_Part] = []
    for part in parts:
        if merged and type(part) is str and type(merged[-1]) is str:
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


def _add(parts: list[_Part], template: pb.Template) -> None:
    kind = template.WhichOneof("kind")
    if kind == "literal_json":
        parts.append(template.literal_json)
    elif kind == "reference":
        parts.append(_Hole(template.reference))
    elif kind == "interpolation":
        parts.append(
            tuple(
                _Hole(part.reference) if part.WhichOneof("kind") == "reference" else part.text
                for part in template.interpolation.parts
            )
        )
    elif kind == "object":
        for number, member in enumerate(template.object.members):
            parts.append(f"{',' if number else '{'}{compact_json(member.name)}:")
            _add(parts, member.value)
        parts.append("}" if template.object.members else "{}")
    elif kind == "array":
        for number, element in enumerate(template.array.elements):
            parts.append("," if number else "[")
            _add(parts, element)
        parts.append("]" if template.array.elements else "[]")
    else:
        parts.append("null")


class _Filling:
    """One filling of one template. A few references can name a large value many times, so what they add is counted."""

    __slots__ = ("_left", "_limit_bytes", "_parsed", "_scope")

    def __init__(self, scope: Scope, limit_bytes: int) -> None:
        self._scope = scope
        self._limit_bytes = limit_bytes
        self._left = limit_bytes
        self._parsed: dict[bytes, object] = {}

    def text(self, part: _Hole | _Interpolation) -> str:
        if isinstance(part, _Hole):
            return self._value_text(part)
        return compact_json("".join([piece if isinstance(piece, str) else self._piece(piece) for piece in part]))

    def _value_text(self, hole: _Hole) -> str:
        text = compact_json(_walk(self._root(hole), hole)) if hole.path else self._scope.text(hole.reference)
        self._left -= len(text)
        if self._left < 0:
            raise TemplateError(f"is larger than {self._limit_bytes} bytes once its references are filled")
        return text

    def _root(self, hole: _Hole) -> object:
        """The value the path begins at, parsed once however many references begin there."""
        if hole.root not in self._parsed:
            self._parsed[hole.root] = json.loads(self._scope.text(hole.reference))
        return self._parsed[hole.root]

    def _piece(self, hole: _Hole) -> str:
        text = self._value_text(hole)
        if not text.startswith('"'):
            return text
        value: str = json.loads(text)
        return value


def _walk(value: object, hole: _Hole) -> object:
    if value is None and hole.reference.WhichOneof("root") == "step_output":
        # The output of a step that did not succeed is null, whatever path would lead into it.
        return None
    for element in hole.path:
        if isinstance(element, str):
            if isinstance(value, dict) and element in value:
                value = value[element]
                continue
        elif isinstance(value, list) and -len(value) <= element < len(value):
            value = value[element]
            continue
        where = f".{element}" if isinstance(element, str) else f"[{element}]"
        raise TemplateError(f"{describe(hole.reference)} leads nowhere: there is no {where}")
    return value
