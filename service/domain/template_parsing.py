"""Parsing templates: JSON text whose strings may hold `${...}`, read once, when it is submitted.

No text makes a template of more parts than its limit, and what would is refused before the rest of it is built.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from podium.v1 import definition_pb2 as pb
from service.domain.json_members import MemberTwice, read_json
from service.domain.templates import (
    ELEMENTS_LIMIT,
    PARTS_LIMIT,
    TemplateError,
    check_element_count,
    check_part_count,
    compact_json,
    write_json,
)

_HOLE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_PATH = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_-]*)|\[(-?[0-9]{1,9})\]|\[("(?:[^"\\]|\\.)*")\]""")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_SHORTHAND_BEGINS = '"step_'
_SHORTHAND = re.compile(r"step_[1-9][0-9]*")
_PATH_LENGTH_MAX = 64 * 1024


def parse_compact(compact: str, *, shorthand: bool) -> pb.Template | None:
    """The template of JSON text in its compact form, that is nested as deeply as it may be; None: it may have holes."""
    if "${" in compact or (shorthand and _SHORTHAND_BEGINS in compact):
        return None
    return pb.Template(literal_json=compact)


def parse_json(
    text: str,
    *,
    shorthand: bool,
    depth_limit: int = 64,
    parts_limit: int = PARTS_LIMIT,
    elements_limit: int = ELEMENTS_LIMIT,
    compact: str | None = None,
) -> pb.Template:
    """Parse JSON text whose strings may hold `${...}`.

    Raises TemplateError for text that is no JSON, a reference that does not parse, a value nested too deeply, or a
    template of too many parts or elements. `compact` is the text's compact form, if that is known already.
    """
    if compact is None:
        value, compact = _load(text)
    else:
        value = json.loads(compact)
    without_holes = parse_compact(compact, shorthand=shorthand)
    if without_holes is not None:
        _check_depth(value, depth_limit)
        return without_holes
    # Each hole is a part at least: a text of far too many is refused before any of them is parsed.
    check_part_count(compact.count("${"), parts_limit)
    built = _Builder(shorthand=shorthand, parts_limit=parts_limit, elements_limit=elements_limit).build(
        value, depth_limit
    )
    return built if built is not None else pb.Template(literal_json=compact)


def check_literal(text: str, *, depth_limit: int = 64) -> None:
    """Raise TemplateError unless the text is JSON that is nested at most so deeply."""
    value, _ = _load(text)
    _check_depth(value, depth_limit)


def _load(text: str) -> tuple[object, str]:
    """The value of JSON text from outside, and its compact form."""
    try:
        value = read_json(text)
        compact = write_json(value)
        compact.encode()
    except UnicodeEncodeError:
        raise TemplateError("is not valid JSON: it holds half of a surrogate pair") from None
    except MemberTwice as error:
        raise TemplateError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"is not valid JSON: {error}") from None
    return value, compact


def _check_depth(value: object, depth: int) -> None:
    level = [value]
    for _ in range(depth + 1):
        # Level by level, because a call for each of a million would take too long.
        below = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [each for values in below for each in values]
    if level:
        raise TemplateError("is nested too deeply")


class _Builder:
    """Builds the template of one JSON value, and counts its parts while it does."""

    def __init__(self, *, shorthand: bool, parts_limit: int, elements_limit: int) -> None:
        self._shorthand = shorthand
        self._limit = parts_limit
        self._count = 0
        self._elements_limit = elements_limit
        self._elements = 0

    def build(self, value: object, depth: int) -> pb.Template | None:
        """The template of a value, or None when there is no hole in it."""
        if depth < 0:
            raise TemplateError("is nested too deeply")
        if isinstance(value, str):
            return self._string(value) if self._shorthand or "${" in value else None
        if isinstance(value, list | dict):
            self._elements += len(value)
            check_element_count(self._elements, self._elements_limit)
        if isinstance(value, list):
            elements = [self.build(element, depth - 1) for element in value]
            if all(element is None for element in elements):
                return None
            self._add(len(elements))
            filled = [e or pb.Template(literal_json=compact_json(v)) for e, v in zip(elements, value, strict=True)]
            return pb.Template(array=pb.ArrayTemplate(elements=filled))
        if isinstance(value, dict):
            members = {name: self.build(member, depth - 1) for name, member in value.items()}
            if all(member is None for member in members.values()):
                return None
            self._add(len(members))
            filled = [
                m or pb.Template(literal_json=compact_json(v))
                for m, v in zip(members.values(), value.values(), strict=True)
            ]
            named = [pb.MemberTemplate(name=name, value=each) for name, each in zip(members, filled, strict=True)]
            return pb.Template(object=pb.ObjectTemplate(members=named))
        return None

    def _add(self, parts: int) -> None:
        self._count += parts
        check_part_count(self._count, self._limit)

    def _string(self, text: str) -> pb.Template | None:
        if self._shorthand and _SHORTHAND.fullmatch(text):
            return pb.Template(reference=pb.Reference(step_output=text))
        if "${" not in text:
            return None
        parts: list[pb.InterpolationPart] = []
        for part in _parts(text):
            self._add(1 + len(part.reference.path))
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
    if len(rest) > _PATH_LENGTH_MAX:
        raise TemplateError(f"has a reference whose path is longer than {_PATH_LENGTH_MAX} characters")
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
