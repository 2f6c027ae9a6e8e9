"""Finds what a CEL expression reads, from its text alone, and refuses what could not be bounded.

CEL's own limits do not bound it: nested comprehensions that bind lists of lists compare 10^8 values in 400
characters, and a regular expression is compiled once for each element. So here comprehensions do not nest and build
nothing, and what an expression costs is bounded by its length and the data it reads.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MATCHES_MAX = 8
"""How many regular expressions a condition may hold."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<string>[bB]?(?:
        [rR](?:\"{3}(?s:.*?)\"{3}|'{3}(?s:.*?)'{3}|"[^"\r\n]*"|'[^'\r\n]*')
        |\"{3}(?s:\\.|[^\\])*?\"{3}|'{3}(?s:\\.|[^\\])*?'{3}
        |"(?:\\.|[^"\\\r\n])*"|'(?:\\.|[^'\\\r\n])*'))
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d*\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>`[A-Za-z0-9_.\-/ ]+`)
    |(?P<sign>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE,
)
_STEP_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_PLAIN_STRING = re.compile(r"""(["'])[^"'\\\r\n]*\1""")
_COMPREHENSIONS = frozenset({"all", "exists", "exists_one", "existsOne", "filter"})
_BESIDE_A_CLAUSE = frozenset({"", "&&", "||", ",", "?", ":"})


class ExpressionError(ValueError):
    """An expression that does not parse, may not be written, or cannot be evaluated.

    `line` and `column` count from 1; both are 0 where the place is not known.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"{message} (line {line}, column {column})" if line else message)
        self.line = line
        self.column = column


class Read(NamedTuple):
    """One place where an expression reads a value."""

    step: str
    """The id of the step; empty: the workflow's input. In a policy's condition: the fact."""
    path: tuple[str, ...]
    """The members on the way to the value; for a step the first is `output` or `state`."""
    whole: bool
    """False: only whether the value is null matters."""
    repeated: bool
    """The place is inside a comprehension, so that the value is read once for each element."""


class Token(NamedTuple):
    """A token: its kind (a group of the pattern, or `edge` before the first and after the last) and its place."""

    kind: str
    text: str
    offset: int


def tokenise(text: str) -> list[Token]:
    """The tokens of an expression between two of kind `edge`. Raises ExpressionError."""
    tokens = [Token("edge", "", 0)]
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise error_at(text, position, f"{text[position]!r} begins nothing that can be in a condition")
        if match.lastgroup != "space":
            tokens.append(Token(match.lastgroup or "", match.group(), position))
        position = match.end()
    tokens.append(Token("edge", "", len(text)))
    return tokens


def error_at(text: str, offset: int, message: str) -> ExpressionError:
    """An error at a place in the text."""
    return ExpressionError(message, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def scan(text: str) -> list[Read]:
    """What the CEL expression `text` reads, in its order. Raises ExpressionError for what cannot be followed."""
    return Scan(text).run()


class Scan:
    """One pass over the tokens of an expression that reads below `roots`."""

    roots: tuple[str, ...] = ("steps", "input")

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenise(text)
        self._open: list[str] = []
        """What each open bracket is: comprehension, literal, index or call."""
        self._building: Token | None = None
        """The first token that makes a value which may be larger than those it is made of."""
        self._comprehends = False
        self._matches = 0
        self._reads: list[Read] = []

    def run(self) -> list[Read]:
        """What the expression reads, in its order. Raises ExpressionError for what cannot be followed."""
        index = 1
        while index < len(self._tokens) - 1:
            token = self._tokens[index]
            if token.kind == "name" and token.text in self.roots and not self._is_member(index):
                index = self._root(index)
            else:
                self._other(index)
                index += 1
        if self._comprehends and self._building is not None:
            problem = "+, and a list or map of anything but constants, cannot be in one condition with all or exists"
            raise self.error(self._building, problem)
        return self._reads

    def error(self, token: Token, message: str) -> ExpressionError:
        """An error at a token."""
        return error_at(self._text, token.offset, message)

    def _at(self, index: int) -> Token:
        return self._tokens[min(index, len(self._tokens) - 1)]

    def _is_member(self, index: int) -> bool:
        """Whether the name at `index` is a member of the value before it."""
        if self._tokens[index - 1].text != ".":
            return False
        if not self._ends_value(index - 2):
            raise self.error(self._tokens[index - 1], "a name cannot begin with a dot")
        return True

    def _ends_value(self, index: int) -> bool:
        """Whether the token at `index` is the last of a value, which the next token then belongs to."""
        kind, text, _ = self._tokens[index]
        return text in (")", "]", "}") or (kind not in ("sign", "edge") and text != "in")

    def _root(self, index: int) -> int:
        """Follow the path from `input` or `steps`, and return the index after it."""
        root = self._tokens[index]
        path, after = self._path(index + 1)
        step, path = self.named(root, path)
        if "literal" in self._open:
            self._building = self._building or root
        whole = not self._only_null_matters(index, after)
        self._reads.append(Read(step, path, whole, "comprehension" in self._open))
        return after

    def named(self, root: Token, path: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """What a path below a root is read from, and the path there. Raises ExpressionError for what is not there."""
        if root.text == "input":
            return "", path
        if not path:
            raise self.error(
                root, 'steps can only be used as steps.NAME or steps["NAME"], with a name that is written there'
            )
        step, below = path[0], path[1:]
        if not _STEP_NAME.fullmatch(step):
            raise self.error(root, f"{step[:80]!r} is no step id; the items of a for_each step cannot be named")
        if not below or below[0] not in ("output", "state"):
            raise self.error(root, f"a step has an output and a state: steps.{step}.output, steps.{step}.state")
        return step, below

    def _path(self, index: int) -> tuple[tuple[str, ...], int]:
        """The members that begin at `index` as far as the text tells them, and the index after them."""
        path: list[str] = []
        while True:
            first, second, third = self._at(index), self._at(index + 1), self._at(index + 2)
            if first.text == "." and second.kind in ("name", "quoted") and third.text != "(":
                path.append(second.text.strip("`"))
                index += 2
            elif first.text == "[" and third.text == "]" and _PLAIN_STRING.fullmatch(second.text):
                path.append(second.text[1:-1])
                index += 3
            else:
                return tuple(path), index

    def _only_null_matters(self, first: int, after: int) -> bool:
        """Whether the value is compared with null, and nothing binds tighter to either."""
        before, end = self._tokens[first - 1].text, self._at(after + 2).text
        compared = self._at(after).text in ("==", "!=") and self._at(after + 1).text == "null"
        return compared and before in {"(", *_BESIDE_A_CLAUSE} and end in {")", *_BESIDE_A_CLAUSE}

    def _other(self, index: int) -> None:
        """Look at a token that begins no path."""
        token = self._tokens[index]
        if token.text in ("(", "[", "{"):
            self._open.append(self._use(index))
        elif token.text in (")", "]", "}"):
            if not self._open:
                raise self.error(token, f"{token.text} closes nothing")
            self._open.pop()
        elif token.text == "+" or (
            "literal" in self._open and token.kind == "name" and token.text not in ("true", "false", "null")
        ):
            self._building = self._building or token

    def _use(self, index: int) -> str:
        """What the bracket at `index` is."""
        token, called = self._tokens[index], self._tokens[index - 1]
        if token.text != "(":
            return "index" if token.text == "[" and self._ends_value(index - 1) else "literal"
        if called.kind != "name":
            return "call"
        if called.text == "map":
            raise self.error(called, "map cannot be used in a condition; all, exists, exists_one and filter can")
        inside = "comprehension" in self._open
        if called.text == "matches":
            self._matches += 1
            if inside or self._matches > MATCHES_MAX:
                raise self.error(
                    called, f"matches cannot be used inside of all or exists, nor more than {MATCHES_MAX} times"
                )
        if called.text not in _COMPREHENSIONS:
            return "call"
        if inside:
            raise self.error(called, f"{called.text} cannot be used inside of another all, exists or filter")
        self._comprehends = True
        return "comprehension"
