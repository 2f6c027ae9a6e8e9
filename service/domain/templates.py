"""Typed templates: arguments with holes. What they consist of, and how many parts that may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Protocol

from podium.v1 import definition_pb2 as pb

PARTS_LIMIT = 5_000
"""Parts that a template may have: values in lists and objects around holes, texts and references in strings, and
what the paths of references consist of. Each takes microseconds wherever the template is read or filled."""

ELEMENTS_LIMIT = 50_000
"""Members and elements of a text with references, all levels together: each is looked at for one."""


class TemplateError(ValueError):
    """A template cannot be parsed or filled. The message says where and why."""


class Scope(Protocol):
    """What references are resolved against while a template is filled."""

    def text(self, reference: pb.Reference) -> str:
        """Return the JSON text of what the reference's root names, ignoring its path."""


# Made once: json.dumps makes an encoder for every call that does not ask for its defaults.
write_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""Compact JSON text of a value. Raises ValueError for a number that JSON cannot say."""
_dump_ascii = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def compact_json(value: object) -> str:
    """Compact JSON text, in a form that a message can hold. Raises ValueError for a number that JSON cannot say."""
    text = write_json(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, in a value that a tool gave, can be written only as an escape.
        return _dump_ascii(value)
    return text


def check_part_count(count: int, limit: int) -> None:
    """Raise TemplateError for more parts than a template may have."""
    if count > limit:
        raise TemplateError(
            f"has more than {limit} parts around its references: give what is large as the workflow's input, "
            "or as another step's output, and refer to it as a whole"
        )


def check_element_count(count: int, limit: int) -> None:
    """Raise TemplateError for more members and elements than a text with references may have."""
    if count > limit:
        raise TemplateError(
            f"has more than {limit} members and elements beside its references: give what is large as the workflow's "
            "input, or as another step's output, and refer to it as a whole"
        )


def check_parts(template: pb.Template, limit: int = PARTS_LIMIT) -> None:
    """Raise TemplateError for a template of too many parts. It takes no longer than the limit does."""
    count, waiting = 0, [template]
    while waiting:
        each = waiting.pop()
        kind = each.WhichOneof("kind")
        if kind == "reference":
            count += len(each.reference.path)
        elif kind == "interpolation":
            parts = each.interpolation.parts
            check_part_count(count + len(parts), limit)
            count += len(parts) + sum(len(part.reference.path) for part in parts)
        elif kind == "object":
            count += len(each.object.members)
            check_part_count(count, limit)
            waiting += [member.value for member in each.object.members]
        elif kind == "array":
            count += len(each.array.elements)
            check_part_count(count, limit)
            waiting += each.array.elements
        check_part_count(count, limit)


def references(template: pb.Template) -> Iterator[pb.Reference]:
    """All references in a template, in order."""
    kind = template.WhichOneof("kind")
    if kind == "reference":
        yield template.reference
    elif kind == "interpolation":
        for part in template.interpolation.parts:
            if part.WhichOneof("kind") == "reference":
                yield part.reference
    elif kind == "object":
        for member in template.object.members:
            yield from references(member.value)
    elif kind == "array":
        for element in template.array.elements:
            yield from references(element)


def referenced_steps(template: pb.Template) -> Iterator[str]:
    """The ids of all steps a template refers to, in order, possibly more than once."""
    for reference in references(template):
        root = reference.WhichOneof("root")
        if root == "step_output":
            yield reference.step_output
        elif root == "step_state":
            yield reference.step_state


def literals(template: pb.Template) -> Iterator[str]:
    """The JSON text of all literals in a template, in order."""
    kind = template.WhichOneof("kind")
    if kind == "literal_json":
        yield template.literal_json
    elif kind == "object":
        for member in template.object.members:
            yield from literals(member.value)
    elif kind == "array":
        for element in template.array.elements:
            yield from literals(element)


def has_sealed(template: pb.Template) -> bool:
    """Whether a template, or anything in it, is sealed."""
    kind = template.WhichOneof("kind")
    if kind == "object":
        return any(has_sealed(member.value) for member in template.object.members)
    if kind == "array":
        return any(has_sealed(element) for element in template.array.elements)
    return kind == "sealed"


def _element_text(element: pb.PathElement) -> str:
    return f".{element.member}" if element.WhichOneof("kind") == "member" else f"[{element.index}]"


def describe(reference: pb.Reference) -> str:
    """A reference as it would be written, for messages."""
    root = reference.WhichOneof("root") or ""
    name = {"step_output": f"steps.{reference.step_output}.output", "step_state": f"steps.{reference.step_state}.state"}
    return f"${{{name.get(root, root)}{''.join(_element_text(e) for e in reference.path)}}}"
