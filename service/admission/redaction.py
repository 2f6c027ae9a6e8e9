"""Takes secrets out of texts: those that look like one, those that an operator's patterns find, and given values.

What was replaced reads [redacted:NAME]. The value itself goes nowhere: neither into a message nor into a name. Every
search takes linear time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from podium.sanitizers.patterns import ExpressionRefused
from podium.v1 import policy_pb2
from service.admission.linear_regex import Expression, compile_expression, spans
from service.admission.secret_shapes import SECRET_SHAPES, SecretShape

HELD_BYTES_MAX = 16 * 1024
"""So much of a stream is held back at most. A secret that is longer is found only as far as it was held."""
PATTERN_HELD_BYTES = 1024
"""So much is held back for the patterns of an operator, of which nobody knows how their matches begin."""
VALUE_LENGTH_MIN = 4
"""Shorter values are in every text, and are not looked for."""
_NUMBER = re.compile(rb"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
"""What a program may read as a number; JSON's own are among them."""


class Span(NamedTuple):
    """What is to be replaced: from byte `start` to before `end`, and what it is called."""

    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class Redactor:
    """Finds secrets. Immutable, so that one may serve any number of attempts."""

    shapes: tuple[tuple[SecretShape, Expression], ...] = ()
    any_shape: Expression | None = None
    """Finds what any of the shapes does, in one pass."""
    beginnings: Expression | None = None
    """Finds what at the end of a text may be the beginning of a shape."""
    patterns: tuple[tuple[str, Expression], ...] = ()
    values: tuple[tuple[str, bytes], ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    """The values that JSON can tell as a number, which is written in more than one way."""

    @classmethod
    def of(cls, shapes: Sequence[SecretShape] = SECRET_SHAPES) -> Redactor:
        """One that finds secrets of these shapes."""
        return cls(
            shapes=tuple((shape, compile_expression(f"{shape.edge}(?:{shape.expression})")) for shape in shapes),
            any_shape=compile_expression(_any_of((shape.edge, shape.expression) for shape in shapes)),
            beginnings=compile_expression(_beginnings(shapes)),
        )

    def with_patterns(self, patterns: Sequence[policy_pb2.ContentPattern]) -> Redactor:
        """The same, that finds what an operator's patterns find too; one that cannot be used finds everything."""
        return replace(self, patterns=tuple((each.id, _compiled(each)) for each in patterns))

    def with_values(self, values: Mapping[str, bytes]) -> Redactor:
        """The same, that finds these values too."""
        kept = tuple((name, value) for name, value in values.items() if len(value) >= VALUE_LENGTH_MIN)
        numbers = tuple((name, abs(float(value))) for name, value in kept if _NUMBER.fullmatch(value))
        return replace(self, values=kept, numbers=numbers)

    @property
    def reads_each_value(self) -> bool:
        """Whether each value must be searched by itself: for a pattern that asks for an end, or for a number."""
        return bool(self.patterns or self.numbers)

    def finds(self, data: bytes) -> bool:
        """Whether anything is found. Where texts were put together between quotes or NUL, what is in them is found."""
        if self.any_shape is not None and self.any_shape.search(data) is not None:
            return True
        return any(value in data for _, value in self.values) or any(
            pattern.search(data) is not None for _, pattern in self.patterns
        )

    def find(self, data: bytes) -> list[Span]:
        """What is found in UTF-8, from left to right and without overlaps."""
        if not self.finds(data):
            return []
        found = [
            Span(_secret_from(shape, data, start, end), end, shape.id)
            for shape, expression in self.shapes
            for start, end in spans(expression, data)
        ]
        found += [
            Span(start, end, name)
            for name, expression in self.patterns
            for start, end in spans(expression, data)
            if end > start
        ]
        found += [Span(at, at + len(value), name) for name, value in self.values for at in _places(value, data)]
        return list(_merged(sorted(found, key=lambda span: (span.start, -span.end))))

    def text(self, text: str, names: dict[str, None]) -> str:
        """The text without what is found, whose names are added."""
        data = text.encode(errors="surrogatepass")
        found = self.find(data)
        return replaced(data, found, names).decode(errors="surrogatepass") if found else text

    def value(self, value: Any, names: dict[str, None]) -> Any:  # noqa: ANN401 - any JSON value
        """A JSON value without what is found in its texts and in the names of its members."""
        if isinstance(value, str):
            return self.text(value, names)
        if isinstance(value, list):
            return [self.value(each, names) for each in value]
        if isinstance(value, dict):
            return self._members(value, names)
        if self.numbers and isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(value, names)
        return value

    def pending_from(self, data: bytes) -> int:
        """Where the part at the end begins that may become a match when more follows; the length: there is none."""
        start = len(data)
        first = max(0, start - HELD_BYTES_MAX)
        if self.beginnings is not None:
            found = next(iter(spans(self.beginnings, data[first:])), None)
            start = min(start, first + found[0]) if found is not None else start
        if self.patterns:
            start = min(start, max(0, len(data) - PATTERN_HELD_BYTES))
        for _, value in self.values:
            start = min(start, _beginning_of(value, data))
        return start

    def _number(self, value: float, names: dict[str, None]) -> int | float | str:
        """The number, unless it is a secret as far as a float can tell: with another sign or exponent, or rounded."""
        for name, secret in self.numbers:
            # A whole number and a float are equal only when they are so in full: compared are two floats.
            if abs(_as_float(value)) == secret:
                names[f"redacted:{name}"] = None
                return replacement(name).decode()
        return value

    def _members(self, value: dict[str, Any], names: dict[str, None]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for name, each in value.items():
            told = self.text(name, names)
            while told in members:
                # Two names that became one: both members are kept.
                told += "'"
            members[told] = self.value(each, names)
        return members


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _compiled(pattern: policy_pb2.ContentPattern) -> Expression:
    """Fails closed: what a policy wants to be left out is not told because its pattern is wrong."""
    try:
        return compile_expression(pattern.expression)
    except ExpressionRefused:
        return compile_expression("(?s).+")


def replaced(data: bytes, found: Iterable[Span], names: dict[str, None]) -> bytes:
    """The data with each span replaced."""
    pieces: list[bytes] = []
    end = 0
    for span in found:
        pieces += (data[end : span.start], replacement(span.name))
        names[f"redacted:{span.name}"] = None
        end = span.end
    return b"".join((*pieces, data[end:]))


def replacement(name: str) -> bytes:
    """What stands in the place of a secret."""
    return f"[redacted:{name}]".encode()


def texts_of(value: object) -> Iterator[str]:
    """Every text in a JSON value, the names of members too."""
    below: list[object] = [value]
    while below:
        each = below.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            yield from each
            below += each.values()
        elif isinstance(each, list):
            below += each


def _merged(found: list[Span]) -> Iterator[Span]:
    """Spans in order, with those that overlap made one, under the name of the first."""
    last: Span | None = None
    for span in found:
        if last is None or span.start >= last.end:
            if last is not None:
                yield last
            last = span
        else:
            last = last._replace(end=max(last.end, span.end))
    if last is not None:
        yield last


def _places(value: bytes, data: bytes) -> Iterator[int]:
    at = data.find(value)
    while at >= 0:
        yield at
        at = data.find(value, at + len(value))


def _beginning_of(value: bytes, data: bytes) -> int:
    """Where the end of the data may be a beginning of the value."""
    at = data.find(value[:1], max(0, len(data) - len(value) + 1))
    while at >= 0:
        if value.startswith(data[at:]):
            return at
        at = data.find(value[:1], at + 1)
    return len(data)


def _secret_from(shape: SecretShape, data: bytes, start: int, end: int) -> int:
    """Where the secret begins in a match, of which what stands before it is part: RE2 cannot look behind."""
    places = (data.find(prefix.encode(), start, end) for prefix in shape.prefixes)
    return min((place for place in places if place >= 0), default=start)


def _any_of(expressions: Iterable[tuple[str, str]]) -> str:
    """An expression for any of those that stand after an edge, each of which is written once."""
    by_edge: dict[str, list[str]] = {}
    for edge, expression in expressions:
        by_edge.setdefault(edge, []).append(f"(?:{expression})")
    return "|".join(f"{edge}(?:{'|'.join(each)})" for edge, each in by_edge.items())


def _beginnings(shapes: Sequence[SecretShape]) -> str:
    """An expression for the end of a text that may be the beginning of a match."""
    parts: list[tuple[str, str]] = []
    for shape in shapes:
        for prefix in shape.prefixes:
            partial = "|".join(_quoted(prefix[:length]) for length in range(1, len(prefix)))
            parts.append((shape.edge, rf"{partial}|{_quoted(prefix)}(?:{shape.goes_on})"))
    return rf"(?:{_any_of(parts)})\z"


def _quoted(text: str) -> str:
    return "".join(character if character.isalnum() else f"\\{character}" for character in text)
