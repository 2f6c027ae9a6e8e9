"""Typed templates: arguments with holes, parsed once, when they are submitted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Protocol

from podium.v1 import definition_pb2 as pb
from service.domain.json_members import MemberTwice, read_json

_HOLE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_PATH = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_-]*)|\[(-?[0-9]{1,9})\]|\[("(?:[^"\\]|\\.)*")\]""")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_SHORTHAND = re.compile(r"step_[1-9][0-9]*")


class TemplateError(ValueError):
    """A template cannot be parsed or filled. The message says where and why."""


class Scope(Protocol):
    """What references are resolved against while a template is filled."""

    def text(self, reference: pb.Reference) -> str:
        """Return the JSON text of what the reference's root names, ignoring its path."""


def parse_json(text: str, *, shorthand: bool, depth_limit: int = 64) -> pb.Template:
    """Parse JSON text whose strings may hold `${...}`.

    Raises TemplateError for text that is no JSON, a reference that does not parse, or a value nested too deeply.
    """
    value, compact = _load(text)
    built = _build(value, shorthand=shorthand, depth=depth_limit)
    return built if built is not None else pb.Template(literal_json=compact)


def check_literal(text: str, *, depth_limit: int = 64) -> None:
    """Raise TemplateError unless the text is JSON that is nested at most so deeply."""
    value, _ = _load(text)
    _check_depth(value, depth_limit)


def _load(text: str) -> tuple[object, str]:
    """The value of JSON text from outside, and its compact form."""
    try:
        value = read_json(text)
        compact = _dump(value)
        compact.encode()
    except UnicodeEncodeError:
        raise TemplateError("is not valid JSON: it holds half of a surrogate pair") from None
    except MemberTwice as error:
        raise TemplateError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"is not valid JSON: {error}") from None
    return value, compact


def _check_depth(value: object, depth: int) -> None:
    if depth < 0:
        raise TemplateError("is nested too deeply")
    if isinstance(value, dict | list):
        for below in value.values() if isinstance(value, dict) else value:
            _check_depth(below, depth - 1)


# Made once: json.dumps makes an encoder for every call that does not ask for its defaults.
_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_dump_ascii = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def compact_json(value: object) -> str:
    """Compact JSON text, in a form that a message can hold. Raises ValueError for a number that JSON cannot say."""
    text = _dump(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, in a value that a tool gave, can be written only as an escape.
        return _dump_ascii(value)
    return text


def _build(value: object, *, shorthand: bool, depth: int) -> pb.Template | None:
    """The template of a value, or None when there is no hole in it."""
    if depth < 0:
        raise TemplateError("is nested too deeply")
    if isinstance(value, str):
        return _string(value, shorthand=shorthand)
    if isinstance(value, list):
        elements = [_build(element, shorthand=shorthand, depth=depth - 1) for element in value]
        if all(element is None for element in elements):
            return None
        filled = [e or pb.Template(literal_json=compact_json(v)) for e, v in zip(elements, value, strict=True)]
        return pb.Template(array=pb.ArrayTemplate(elements=filled))
    if isinstance(value, dict):
        members = {name: _build(member, shorthand=shorthand, depth=depth - 1) for name, member in value.items()}
        if all(member is None for member in members.values()):
            return None
        return pb.Template(
            object=pb.ObjectTemplate(
                members=[
                    pb.MemberTemplate(name=name, value=member or pb.Template(literal_json=compact_json(value[name])))
                    for name, member in members.items()
                ]
            )
        )
    return None


def _string(text: str, *, shorthand: bool) -> pb.Template | None:
    if shorthand and _SHORTHAND.fullmatch(text):
        return pb.Template(reference=pb.Reference(step_output=text))
    if "${" not in text:
        return None
    parts: list[pb.InterpolationPart] = []
    for part in _parts(text):
        # An escape splits the text around it; what is split must become one part again.
        if parts and part.WhichOneof("kind") == "text" and parts[-1].WhichOneof("kind") == "text":
            parts[-1].text += part.text
        else:
            parts.append(part)
    if len(parts) == 1:
        only = parts[0]
        if only.WhichOneof("kind") == "reference":
            return pb.Template(reference=only.reference)
        return pb.Template(literal_json=compact_json(only.text))
    return pb.Template(interpolation=pb.Interpolation(parts=parts))


def _parts(text: str) -> Iterator[pb.InterpolationPart]:
    end = 0
    for match in _HOLE.finditer(text):
        if match.start() > end:
            yield pb.InterpolationPart(text=text[end : match.start()])
        end = match.end()
        if match.group() == "$${":
            yield pb.InterpolationPart(text="${")
        elif match.group(1) is None:
            place = f"at character {match.start()}"
            raise TemplateError(f"has an unfinished reference {place}: write $${{ for the text ${{")
        else:
            yield pb.InterpolationPart(reference=parse_reference(match.group(1)))
    if end < len(text):
        yield pb.InterpolationPart(text=text[end:])


def parse_reference(text: str) -> pb.Reference:
    """Parse the inside of `${...}`, for example `steps.search.output.urls[0]`, `input.query`, `item`, `index`."""
    reference, rest = _root(text.strip())
    position = 0
    while position < len(rest):
        match = _PATH.match(rest, position)
        if match is None:
            raise TemplateError(f"has a reference that does not parse: ${{{text}}}, at {rest[position:]!r}")
        member, index, quoted = match.groups()
        if member is not None:
            reference.path.add(member=member)
        elif index is not None:
            reference.path.add(index=int(index))
        else:
            reference.path.add(member=_unquoted(quoted, text))
        position = match.end()
    return reference


def _unquoted(quoted: str, text: str) -> str:
    try:
        member: str = json.loads(quoted)
        member.encode()
    except ValueError:
        raise TemplateError(f"has a reference that does not parse: ${{{text}}}, at {quoted}") from None
    return member


def _root(text: str) -> tuple[pb.Reference, str]:
    if text.startswith("steps."):
        name = _NAME.match(text, 6)
        if name is not None:
            rest = text[name.end() :]
            for field, make in (("output", _output_of), ("state", _state_of)):
                if rest == f".{field}" or rest.startswith((f".{field}.", f".{field}[")):
                    return make(name.group()), rest[len(field) + 1 :]
        raise TemplateError(f"has a reference that does not parse: ${{{text}}}; write ${{steps.NAME.output...}}")
    for root in ("input", "item", "index"):
        if text == root or text.startswith((f"{root}.", f"{root}[")):
            reference = pb.Reference()
            setattr(reference, root, True)
            return reference, text[len(root) :]
    raise TemplateError(
        f"has a reference to nothing known: ${{{text}}}; references begin with steps., input, item or index"
    )


def _output_of(name: str) -> pb.Reference:
    return pb.Reference(step_output=name)


def _state_of(name: str) -> pb.Reference:
    return pb.Reference(step_state=name)


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
