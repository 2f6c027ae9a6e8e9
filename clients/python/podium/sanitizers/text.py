r"""Plain text: bounded, normalised, without characters that a person does not see and a program obeys.

What passes is in the normal form that was asked for. Line breaks, tabs and form feeds are text; other control
characters drive terminals. Overrides of the writing direction and invisible tags show a reader something else than
what is there; marks of direction that right-to-left texts need are let through.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Literal, Protocol, cast

from podium.sanitizers.declaration import Options
from podium.sanitizers.rejection import Rejected, text_of

KIND = "text"
_FORMS = ("NFC", "NFD", "NFKC", "NFKD", "none")
_LENGTH_DEFAULT = 65_536
_LENGTH_MAX = 8 * 1024 * 1024

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufff9-\ufffb\ufffe\uffff]")
_LINE_BREAK = re.compile(r"[\n\r\x0c\x85\u2028\u2029]")
_DIRECTION = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
# A flag of a region is a black flag, the tags of its letters and an end; tags elsewhere are hidden text.
_REGION_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f")
_TAG = re.compile("[\U000e0000-\U000e007f\U000e0100-\U000e01ef]{2,}|[\U000e0000-\U000e007f]")


class Searchable(Protocol):
    """A compiled regular expression, of `re` or of another engine."""

    def search(self, text: str, /) -> object:
        """Whether it is found anywhere; None if not."""


class TextSanitizer:
    """Refuses control characters and what misleads the eye, and normalises the rest.

    Options: `max_length` in characters; `normalize`, a Unicode normal form or `none`; `lines`, whether line breaks are
    allowed. `patterns` are the operator's, by name: they are looked up at each check, so that they may change, and a
    text in which one is found is refused.
    """

    kind = KIND

    def __init__(self, options: Mapping[str, object], patterns: Mapping[str, Searchable]) -> None:
        read = Options(KIND, options)
        self._length_max = read.number("max_length", _LENGTH_DEFAULT, _LENGTH_MAX)
        self._form = read.choice("normalize", "NFC", _FORMS)
        self._lines = read.flag("lines", default=True)
        read.close()
        self._patterns = patterns

    def check(self, value: object) -> str:
        """Return the text, normalised, or raise Rejected."""
        text = text_of(KIND, value, self._length_max)
        if not text.isascii():
            if self._form != "none":
                form = cast('Literal["NFC", "NFD", "NFKC", "NFKD"]', self._form)
                # A normal form may be longer than what it was made of.
                text = text_of(KIND, unicodedata.normalize(form, text), self._length_max)
            if _DIRECTION.search(text):
                raise Rejected(KIND, "DIRECTION_OVERRIDE", "changes the direction of writing invisibly")
            if _TAG.search(_REGION_FLAG.sub("", text)):
                raise Rejected(KIND, "INVISIBLE_TEXT", "holds invisible tag characters")
        if _CONTROL.search(text):
            raise Rejected(KIND, "CONTROL_CHARACTER", "holds a control character")
        if not self._lines and _LINE_BREAK.search(text):
            raise Rejected(KIND, "LINE_BREAK", "must be a single line")
        for name, pattern in self._patterns.items():
            if pattern.search(text) is not None:
                raise Rejected(KIND, "CONTENT_PATTERN", f"holds what the pattern {name} refuses")
        return text
