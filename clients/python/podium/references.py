"""Values that are not there yet: what a workflow's steps hand to each other.

A reference is only a name and a path. It has no text, no length and no truth until the workflow runs, so whatever
would need one is refused with a word on what to write instead.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias

from podium.errors import InvalidInput
from podium.json_text import to_json
from podium.v1 import definition_pb2

Root: TypeAlias = Literal["step_output", "step_state", "input", "item", "index"]
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Names a value in a workflow: a step's output, the input, or the item a for_each step runs for.

    `reference["key"]` and `reference[0]` walk into it.
    """

    root: Root
    step_id: str = ""
    path: tuple[str | int, ...] = ()

    # Without these Python would ask for the members 0, 1, 2, … for ever.
    __iter__ = None
    __contains__ = None

    def __getitem__(self, key: str | int) -> Reference:
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise TypeError(f"a path goes by names and numbers, not by {type(key).__name__}")
        return Reference(self.root, self.step_id, (*self.path, key))

    @property
    def cel(self) -> str:
        """The reference as a CEL expression, for use inside a condition."""
        roots = {"step_output": f"steps.{self.step_id}.output", "step_state": f"steps.{self.step_id}.state"}
        parts = [roots.get(self.root, self.root)]
        for key in self.path:
            if isinstance(key, str) and _IDENTIFIER.fullmatch(key):
                parts.append(f".{key}")
            else:
                parts.append(f"[{to_json(key)}]")
        return "".join(parts)

    def message(self) -> definition_pb2.Reference:
        """Returns the reference as the contract writes it."""
        message = definition_pb2.Reference()
        match self.root:
            case "step_output":
                message.step_output = self.step_id
            case "step_state":
                message.step_state = self.step_id
            case "input":
                message.input = True
            case "item":
                message.item = True
            case "index":
                message.index = True
        for key in self.path:
            element = message.path.add()
            if isinstance(key, str):
                element.member = key
            else:
                element.index = key
        return message

    def __repr__(self) -> str:
        return f"<reference {self.cel}>"

    def __str__(self) -> str:  # noqa: PLE0307 -- it never returns
        self._refuse_text()

    def __format__(self, specification: str) -> str:
        self._refuse_text()

    def __bool__(self) -> bool:
        raise TypeError(f"{self.cel} has no truth before the workflow runs: use when= with a CEL condition")

    def _refuse_text(self) -> NoReturn:
        raise TypeError(
            f'{self.cel} has no text before the workflow runs: write podium.text("... {{}} ...", reference), '
            "or reference.cel inside a condition"
        )


@dataclass(frozen=True, slots=True)
class Text:
    """A string put together from text and references when the workflow runs. Made by `text`."""

    parts: tuple[str | Reference, ...]

    def message(self) -> definition_pb2.Interpolation:
        """Returns the text as the contract writes it."""
        message = definition_pb2.Interpolation()
        for part in self.parts:
            if isinstance(part, str):
                message.parts.add(text=part)
            else:
                message.parts.add(reference=part.message())
        return message


def text(template: str, /, *values: object, **named: object) -> Text:
    """Returns a string with references in it: `text("about {}", search.output["title"])`.

    Fields are written as for `str.format`, without format specifications. A value that is no reference is put in at
    once: strings as they are, everything else as JSON text.
    """
    parts: list[str | Reference] = []
    automatic = 0
    for literal, name, specification, conversion in string.Formatter().parse(template):
        if literal:
            parts.append(literal)
        if name is None:
            continue
        if specification or conversion or not re.fullmatch(r"\d*|[A-Za-z_]\w*", name):
            raise InvalidInput(f"{{{name}}}: a field in text() is empty, a number or a name", field="template")
        try:
            value = named[name] if name and not name.isdigit() else values[int(name) if name else automatic]
        except (KeyError, IndexError):
            raise InvalidInput(f"text() has no value for the field {{{name}}}", field="template") from None
        automatic += not name
        if isinstance(value, Reference):
            parts.append(value)
        else:
            parts.append(value if isinstance(value, str) else to_json(value))
    return Text(tuple(parts))


item = Reference("item")
"""The item that a for_each step runs for."""

index = Reference("index")
"""The place of that item in its list, from 0."""
