"""Plain text out of documents: the words a reader sees, in their order, blocks apart.

Invariant: markup is read by parsers that are made for hostile input, and never run, loaded or followed.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser

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
    "a abbr b bdi bdo big cite code data del dfn em font i ins kbd label mark q s samp small span strike strong sub sup "
    "time tt u var wbr".split()
)
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_DELIMITERS = ",;\t|"
_SAMPLE_CHARACTERS = 4096
_FIELD_CHARACTERS = 1024 * 1024
_BLOCK_END = "\n\n"


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
            return "", "\n".join(_leaves(_json(content), ""))
        case "csv":
            return "", "\n".join("\t".join(row) for row in _rows(content))
        case "text":
            return "", content.strip()


def _html(content: str) -> tuple[str, str]:
    tree = LexborHTMLParser(content)
    title = tree.css_first("title")
    heading = tree.css_first("h1")
    named = next((found for node in (title, heading) if node is not None and (found := node.text(deep=True))), "")
    tree.strip_tags(_UNSEEN, recursive=True)
    text = "".join(_pieces(tree.body)) if tree.body is not None else ""
    lines = (line.strip() for line in _SPACES.sub(" ", text).splitlines())
    return " ".join(named.split()), _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _pieces(root: Any) -> Iterator[str]:  # noqa: ANN401 -- a node of the parser, which publishes no type for its walk
    """The text below a node, with the ends of blocks. It walks: a document may be nested deeper than the stack."""
    node = root.child
    preformatted = 0
    while node is not None:
        name = node.tag
        if name == "-text":
            text = node.text_content or ""
            yield text if preformatted else text.replace("\n", " ").replace("\r", " ")
        elif name == "br":
            yield "\n"
        elif name == "pre":
            preformatted += 1
        if node.child is not None:
            node = node.child
            continue
        while node is not None and node != root:
            preformatted -= node.tag == "pre"
            if node.tag not in _INLINE and node.tag not in ("-text", "br"):
                yield "\t" if node.tag in ("td", "th") else "\n" if node.tag in ("tr", "li") else _BLOCK_END
            if node.next is not None:
                node = node.next
                break
            node = node.parent
        if node is None or node == root:
            return


def _json(content: str) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable("it is not valid, or nested too deeply") from None


def _leaves(value: object, path: str) -> Iterator[str]:
    """A line for each value that holds no other, after its path."""
    match value:
        case dict():
            for name, each in value.items():
                yield from _leaves(each, f"{path}.{name}" if path else str(name))
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
