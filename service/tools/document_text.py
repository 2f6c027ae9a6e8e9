"""Plain text out of documents: the words a reader sees, in their order, blocks apart.

Invariant: markup is read by parsers that are made for hostile input, and never run, loaded or followed.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser, LexborNode

from podium.sanitizers.html_nesting import DEPTH_MAX, is_nested_too_deeply

Format: TypeAlias = Literal["html", "markdown", "json", "csv", "text"]

FORMATS: dict[Format, frozenset[str]] = {
    "html": frozenset({".html", ".htm", ".xhtml"}),
    "markdown": frozenset({".md", ".markdown"}),
    "json": frozenset({".json"}),
    "csv": frozenset({".csv", ".tsv"}),
    "text": frozenset({".txt", ".log", ".rst", ".py", ".yaml", ".yml", ".toml", ".ini"}),
}
"""Every format, and the endings of its files' names."""

_UNSEEN = ["script", "style", "noscript", "template", "head", "iframe", "object", "svg", "math", "select", "textarea"]
_INLINE = frozenset(
    "a abbr b bdi bdo big cite code data del dfn em font i ins kbd label mark q s samp small span strike strong sub "
    "sup time tt u var wbr".split()
)
_ENDS = {"br": "\n", "tr": "\n", "li": "\n", "td": " ", "th": " "}
"""What follows an element; a blank line after every other block."""
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_DELIMITERS = ",;\t|"
_SAMPLE_CHARACTERS = 4096
_FIELD_CHARACTERS = 1024 * 1024
_NAME_CHARACTERS = 100
_LINES_CHARACTERS = 256 * 1024
_LINES_FACTOR = 8
"""The lines of a JSON document, with the paths that they repeat, may be so many times as long as it is, and some."""


class Unreadable(ValueError):
    """A document that is not what it was said to be. The message holds nothing of it."""


def text_of_document(content: str, kind: Format) -> tuple[str, str]:
    """The title, empty if there is none, and the text of a document. Raises Unreadable."""
    match kind:
        case "html":
            return _html(content)
        case "markdown":
            return _html(MarkdownIt("commonmark", {"html": False}).render(content))
        case "json":
            return "", _lines(_leaves(_json(content), ""), _LINES_CHARACTERS + _LINES_FACTOR * len(content))
        case "csv":
            return "", "\n".join("\t".join(row) for row in _rows(content))
        case "text":
            return "", content.strip()


def _html(content: str) -> tuple[str, str]:
    if is_nested_too_deeply(content):
        raise Unreadable(f"its elements are nested more than {DEPTH_MAX} deep")
    tree = LexborHTMLParser(content)
    title = tree.css_first("title")
    heading = tree.css_first("h1")
    named = next((found for node in (title, heading) if node is not None and (found := node.text(deep=True))), "")
    tree.strip_tags(_UNSEEN, recursive=True)
    text = "".join(_pieces(tree.body)) if tree.body is not None else ""
    lines = (line.strip() for line in _SPACES.sub(" ", text).splitlines())
    return " ".join(named.split()), _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _pieces(root: LexborNode) -> Iterator[str]:
    """The text below a node, with the ends of blocks."""
    preformatted = 0
    for opens, node in _walk(root):
        tag = node.tag or ""
        preformatted += (1 if opens else -1) if tag == "pre" else 0
        if tag == "-text":
            text = (node.text_content or "") if opens else ""
            yield text if preformatted else text.replace("\n", " ").replace("\r", " ")
        elif not opens and tag not in _INLINE and not tag.startswith("-"):
            yield _ENDS.get(tag, "\n\n")


def _walk(root: LexborNode) -> Iterator[tuple[bool, LexborNode]]:
    """Every node below, as it opens (True) and as it closes (False). Nothing recurses: depth is the document's."""
    node, depth = root, 0
    while True:
        yield True, node
        if node.child is not None:
            node, depth = node.child, depth + 1
            continue
        yield False, node
        while depth and node.next is None and node.parent is not None:
            node, depth = node.parent, depth - 1
            yield False, node
        if not depth or node.next is None:
            return
        node = node.next


def _json(content: str) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable("it is not valid, or nested too deeply") from None


def _lines(lines: Iterator[str], length_max: int) -> str:
    found: list[str] = []
    for line in lines:
        length_max -= len(line)
        if length_max < 0:
            # Each value repeats the names above it: some kilobytes could become many megabytes.
            raise Unreadable("the paths to its values are much longer than the values")
        found.append(line)
    return "\n".join(found)


def _leaves(value: object, path: str) -> Iterator[str]:
    """A line for each value that holds no other, after its path."""
    match value:
        case dict():
            for name, each in value.items():
                short = name if len(name) <= _NAME_CHARACTERS else f"{name[:_NAME_CHARACTERS]}…"
                yield from _leaves(each, f"{path}.{short}" if path else short)
        case list():
            for number, each in enumerate(value):
                yield from _leaves(each, f"{path}[{number}]")
        case str():
            yield f"{path}: {value}" if path else value
        case _:
            text = json.dumps(value)
            yield f"{path}: {text}" if path else text


def _rows(content: str) -> Iterator[list[str]]:
    sample = content[:_SAMPLE_CHARACTERS].partition("\n")[0]
    delimiter = max(_DELIMITERS, key=sample.count)
    csv.field_size_limit(_FIELD_CHARACTERS)
    try:
        yield from csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    except csv.Error:
        raise Unreadable("it has a field that is too long, or no end") from None
