"""A bound on what markup makes a parser do, checked in linear time before one sees it.

Parsers of HTML are quadratic, or worse, in the depth of their input: 200,000 nested elements take minutes. And every
block that begins while formatting elements are open gets a copy of each of them: a hundred kilobytes can
become millions of elements.

Invariant: what a parser has open is counted as open here. An end tag is believed only where every parser obeys it: it
is markup and no part of a comment, an attribute or a script, and ends what was begun last. Any other leaves its element
counted, so that markup in disorder seems deeper than it is, and never shallower.
"""

from __future__ import annotations

import re
import string
from collections import Counter

DEPTH_MAX = 1000
"""Generated pages reach a few dozen."""
_COPIES_MAX = 1_000_000

_SPACE = r"[\t\n\f\r ]"
_ATTRIBUTE = (
    rf"[\t\n\f\r /]*+[^\t\n\f\r />][^\t\n\f\r />=]*+"
    rf"""(?:{_SPACE}*+={_SPACE}*+(?:"[^"]*+"|'[^']*+'|[^\t\n\f\r >"'][^\t\n\f\r >]*+)?+)?+"""
)
# The standard's own tokens: a comment, what is taken for one, and a tag with its attributes.
_TOKEN = re.compile(
    r"<(?:!--(?:-?>|.*?(?:--!?>|\Z))|(?:[!?]|/(?![a-zA-Z]))[^>]*+"
    rf"|(?P<end>/?)(?P<name>[a-zA-Z][^\t\n\f\r />]*+)(?:{_ATTRIBUTE})*+(?P<tail>[\t\n\f\r /]*+))",
    re.DOTALL,
)
_ANY_START = re.compile(r"<([a-zA-Z][^\t\n\f\r />]*)")
_FOLD = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

_EMPTY = frozenset(
    "area base body br col embed frameset head hr html img input link meta param source track wbr".split()
)
# An end that authors leave out: many of them after one another are not nested, unless those of two kinds alternate.
_FLAT = frozenset("colgroup dd dt li option p tbody td tfoot th thead tr".split())
_NEST_IN = {"li": ("dd", "dt"), "dd": ("li",), "dt": ("li",)}
_FORMATTING = frozenset("a b big code em font i nobr s small strike strong tt u".split())
# Their ends end also what is flat within them.
_CONTAINERS = frozenset(
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer header hgroup "
    "main menu nav ol section select summary table ul".split()
)
# Their content is text until their end; in what is foreign or a list of choices it may be markup.
_TEXT = frozenset("iframe noembed noframes noscript script style textarea title xmp".split())
_OTHER_RULES = frozenset("math select svg".split())
_FOREIGN = frozenset("math svg".split())
# What stays a drawing: there, and nowhere else, `/>` is an end.
_DRAWING = frozenset(
    "circle clippath defs ellipse g line lineargradient mask path pattern polygon polyline radialgradient rect stop "
    "svg symbol use".split()
)


def is_nested_too_deeply(markup: str) -> bool:
    """Whether more elements are open at once, or would be copied, than any page needs."""
    nesting = _Nesting()
    at = 0
    while not nesting.is_too_much() and (token := _TOKEN.search(markup, at)) is not None:
        at = token.end()
        written = token["name"]
        if written is None:
            if token[0].startswith("<![CDATA[") and nesting.has_other_rules():
                return _is_too_much_without_ends(nesting, markup, token.start())
            continue
        name = written.translate(_FOLD)
        if token["end"]:
            nesting.end(name)
        elif name not in _TEXT and name != "plaintext":
            nesting.begin(name, is_ended=token["tail"].endswith("/"))
        elif (end := _end_of_text(nesting, name, markup, at)) is not None:
            at = end
        else:
            return _is_too_much_without_ends(nesting, markup, token.start())
    return nesting.is_too_much()


class _Nesting:
    """The elements that may be open, the innermost last, each with the flat ones in it."""

    def __init__(self) -> None:
        self._open: list[tuple[str, Counter[str]]] = [("", Counter())]
        self._formatting = 0
        self._copies = 0
        self._other_rules: Counter[str] = Counter()
        self._is_drawing = False

    def is_too_much(self) -> bool:
        """Whether the bound is passed."""
        return len(self._open) > DEPTH_MAX + 1 or self._copies > _COPIES_MAX

    def has_other_rules(self) -> bool:
        """Whether a parser may be where other rules than those of HTML's text hold."""
        return bool(self._other_rules)

    def begin(self, name: str, *, is_ended: bool = False) -> None:
        """Count an element; `is_ended` where it was written with `/>`, which HTML ignores."""
        self._copies += self._formatting
        if name == "svg" and not self._other_rules:
            if is_ended:
                return
            self._is_drawing = True
        self._is_drawing = self._is_drawing and name in _DRAWING
        flat = self._open[-1][1]
        is_foreign = not self._other_rules.keys().isdisjoint(_FOREIGN)
        if is_ended and is_foreign and self._is_drawing:
            return
        if name in _FLAT and not is_foreign and not any(flat[other] for other in _NEST_IN.get(name, ())):
            flat[name] += 1
        elif name not in _EMPTY or is_foreign:
            self._open.append((name, Counter()))
            self._formatting += name in _FORMATTING
            if name in _OTHER_RULES:
                self._other_rules[name] += 1

    def end(self, name: str) -> None:
        """Take an element off where it is the innermost."""
        self._copies += self._formatting
        self._is_drawing = self._is_drawing and name in _DRAWING
        innermost, flat = self._open[-1]
        if name == innermost and (not flat.total() or name in _CONTAINERS or name in _FLAT):
            self._open.pop()
            self._formatting -= name in _FORMATTING
            if name in _OTHER_RULES:
                self._other_rules -= Counter([name])
        elif flat[name] > 0:
            flat[name] -= 1


def _end_of_text(nesting: _Nesting, name: str, markup: str, at: int) -> int | None:
    """Where the text of an element ends; None if parsers could differ about that."""
    if nesting.has_other_rules() or name == "plaintext":
        return None
    end = re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE | re.ASCII).search(markup, at)
    if end is None:
        return len(markup)
    # Within a comment in a script another script has an end of its own.
    return None if name == "script" and "<!--" in markup[at : end.start()] else end.start()


def _is_too_much_without_ends(nesting: _Nesting, markup: str, at: int) -> bool:
    """The same where it is not known what is markup: whatever looks like the begin of an element is one."""
    for written in _ANY_START.findall(markup, at):
        nesting.begin(written.translate(_FOLD))
        if nesting.is_too_much():
            return True
    return False
