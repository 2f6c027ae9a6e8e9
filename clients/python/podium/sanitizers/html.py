"""Markup of which what is allowed is kept: the rest is dropped, and what is malformed comes out well formed.

For values that are declared as HTML only: in other text, `x < 5` would change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import nh3

from podium.sanitizers.declaration import Options
from podium.sanitizers.html_nesting import DEPTH_MAX, is_nested_too_deeply
from podium.sanitizers.rejection import Rejected, text_of

KIND = "html"
_LENGTH_DEFAULT = 65_536
_LENGTH_MAX = 8 * 1024 * 1024
_ROUNDS_MAX = 3

# Elements that run, load, frame or restyle, or whose content parsers disagree about (the root of mutation attacks).
_NEVER_TAGS = frozenset(
    "annotation-xml applet audio base body button embed form frame frameset head html iframe input isindex link "
    "listing math meta noembed noframes noscript object option param plaintext script select slot source style svg "
    "template textarea title track video xmp".split()
)
_NEVER_ATTRIBUTES = frozenset(
    "action background dynsrc formaction id lowsrc name ping poster srcdoc srcset style".split()
)
_SCHEMES = ("http", "https", "mailto", "tel")
_ADDRESSES = frozenset(
    "archive cite classid codebase data href longdesc manifest profile src usemap xlink:href".split()
)
# Only a scheme is before a colon there: what has one of no known spelling is read as a script by some, or by nobody.
_IGNORED = "".join(map(chr, range(0x21)))
_UNSEEN = dict.fromkeys(map(ord, "\t\n\r"))
_SCHEME = re.compile(r"([^/?#]*?):")


class HtmlSanitizer:
    """Cleans markup. What comes out is stable: cleaned again, it is the same.

    Options: `tags`, instead of the default list; `attributes` by tag, `*` for all; `schemes` of addresses (default
    `http`, `https`, `mailto`, `tel`), of which others are dropped; `max_length`.
    """

    kind = KIND

    def __init__(self, options: Mapping[str, object]) -> None:
        read = Options(KIND, options)
        self._tags = {each.lower() for each in read.texts("tags", nh3.ALLOWED_TAGS - _NEVER_TAGS)}
        default = {tag: names for tag, names in nh3.ALLOWED_ATTRIBUTES.items() if tag in self._tags or tag == "*"}
        attributes = read.lists("attributes", default)
        # The cleaner sets `rel` itself.
        self._attributes = {tag: {each.lower() for each in names} - {"rel"} for tag, names in attributes.items()}
        self._schemes = set(read.chosen("schemes", _SCHEMES, _SCHEMES))
        self._length_max = read.number("max_length", _LENGTH_DEFAULT, _LENGTH_MAX)
        read.close()
        if self._tags & _NEVER_TAGS:
            raise read.refuse("tags", "must not hold elements that run, load, frame or embed anything")
        for names in self._attributes.values():
            if any(name in _NEVER_ATTRIBUTES or name.startswith("on") for name in names):
                raise read.refuse("attributes", "must not hold event handlers, styles, names or further addresses")

    def check(self, value: object) -> str:
        """Return the markup with what is allowed, or raise Rejected."""
        text = text_of(KIND, value, self._length_max)
        if is_nested_too_deeply(text):
            raise Rejected(KIND, "TOO_DEEP", f"nests elements more than {DEPTH_MAX} deep")
        for _ in range(_ROUNDS_MAX):
            cleaned = nh3.clean(
                text,
                tags=self._tags,
                attributes=self._attributes,
                attribute_filter=self._kept,
                url_schemes=self._schemes,
                strip_comments=True,
            )
            if cleaned == text:
                return text
            text = cleaned
        raise Rejected(KIND, "UNSTABLE", "changes again each time it is cleaned")

    def _kept(self, _tag: str, name: str, value: str) -> str | None:
        """An attribute's value; None if it is an address whose scheme is none that is allowed."""
        if name not in _ADDRESSES or (scheme := _SCHEME.match(value)) is None:
            return value
        return value if scheme[1].strip(_IGNORED).translate(_UNSEEN).lower() in self._schemes else None
