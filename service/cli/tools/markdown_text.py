"""Markdown made of texts that others wrote: they stay text, whatever is in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*_\[\]<>#~])")
_FIRST_SPECIAL = re.compile(r"^([-+=|]|\d+[.)])")


def plain(text: str) -> str:
    """A text on one line, in which nothing is markup."""
    escaped = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return _FIRST_SPECIAL.sub(r"\\\1", escaped)


def code(text: str) -> str:
    """A name or a value as code in a line."""
    return "`" + " ".join(text.split()).replace("`", "'") + "`"


def code_block(language: str, text: str) -> str:
    """Lines of code."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def word(text: str) -> str:
    """A word of a shell's command line."""
    return shlex.quote(text)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table. Its cells are Markdown already."""
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
