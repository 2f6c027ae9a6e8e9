r"""Plain text: bounded, normalised, without characters that a person does not see and a program obeys.

What passes is in the normal form that was asked for. Line breaks, tabs and form feeds are text; other control
characters drive terminals. Overrides of the writing direction and characters without a shape show a reader something
else than what is there, and hide words from the operator's patterns. One at a time is let through where a script or an
emoji needs it: joiners and the zero-width space between its letters, marks of direction in right-to-left text,
selectors of a variant behind what has variants.
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
_FLAG = "\U0001f3f4"
_REGION_FLAG = re.compile(_FLAG + "[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f")
# What Unicode lets a renderer ignore, and the controls of notations; direction is judged before.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u2065\u206a-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_JOINERS = frozenset("\u200b\u200c\u200d")
_MARKS = frozenset("\u061c\u200e\u200f")
_RIGHT_TO_LEFT = re.compile(
    "[\u05d0-\u05f4\u0620-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
# What has an emoji's form and is no symbol to Unicode; `1`, `#` and their like are keys with U+20E3 behind.
_EMOJI_TOO = frozenset("\u203c\u2049\u2139\u3030")
_KEY = re.compile("[0-9#*]\ufe0f\u20e3")


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
            if _hides_something(text):
                raise Rejected(KIND, "INVISIBLE_TEXT", "holds invisible characters that its script does not need")
        if _CONTROL.search(text):
            raise Rejected(KIND, "CONTROL_CHARACTER", "holds a control character")
        if not self._lines and _LINE_BREAK.search(text):
            raise Rejected(KIND, "LINE_BREAK", "must be a single line")
        for name, pattern in self._patterns.items():
            if pattern.search(text) is not None:
                raise Rejected(KIND, "CONTENT_PATTERN", f"holds what the pattern {name} refuses")
        return text


def _hides_something(text: str) -> bool:
    """Whether an invisible character stands where neither a script nor an emoji needs one."""
    if _INVISIBLE.search(text) is None:
        return False
    plain = _KEY.sub("0", _REGION_FLAG.sub(_FLAG, text))
    return any(not _is_needed(plain, found.start()) for found in _INVISIBLE.finditer(plain))


def _is_needed(text: str, index: int) -> bool:
    character, before, after = text[index], text[index - 1 : index], text[index + 1 : index + 2]
    if character in _JOINERS:
        # The selector of an emoji's form may stand between the emoji and its joiner.
        joined = text[index - 2 : index - 1] if before == "\ufe0f" and index > 1 else before
        return _is_of_a_script(joined) and _is_of_a_script(after)
    if character in _MARKS:
        alone = not _INVISIBLE.match(before) and not _INVISIBLE.match(after)
        return alone and _RIGHT_TO_LEFT.search(text) is not None
    return _has_variant(before, character)


def _is_of_a_script(character: str) -> bool:
    """Whether it is a letter, a mark on one or a symbol, beyond ASCII and to be seen."""
    return character > "\x7f" and not _INVISIBLE.match(character) and unicodedata.category(character)[0] in "LMS"


def _has_variant(base: str, selector: str) -> bool:
    if not _is_of_a_script(base):
        return base in _EMOJI_TOO and selector in "\ufe0e\ufe0f"
    if "\u1800" <= base <= "\u18af":
        return "\u180b" <= selector <= "\u180f"
    if unicodedata.category(base)[0] == "S" or base in _EMOJI_TOO:
        return selector in "\ufe00\ufe0e\ufe0f"
    return unicodedata.category(base) == "Lo" and ("\ufe00" <= selector <= "\ufe02" or selector >= "\U000e0100")
