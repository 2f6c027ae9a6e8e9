"""What a command prints: JSON for programs on standard output, tables and sentences for people.

Invariant: with --json, standard output holds nothing but JSON, one value a line; whatever is said beside it goes to
standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from service.cli.failures import CommandFailed
from service.cli.terminal_text import one_line, printable

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from rich.console import Console

_CELL_CHARACTERS = 400


def print_json(value: object) -> None:
    """Print a value as one line of JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    if not can_print(text):
        text = json.dumps(value, allow_nan=False, default=_plain)
    _write(text)


def can_print(text: str) -> bool:
    """Return whether the encoding of standard output has all of these characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def print_value(value: object) -> None:
    """Print any JSON value for a person: text as it is, everything else as indented JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=_plain)
    say(text)


def say(text: str = "") -> None:
    """Print lines on standard output."""
    _write(printable(text, lines=True))


def note(text: str) -> None:
    """Print lines on standard error: what is no result."""
    sys.stderr.write(printable(text, lines=True) + "\n")
    sys.stderr.flush()


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    colours: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> None:
    """Print rows under their columns: fitted to a terminal; anywhere else one line a row, cut nowhere.

    `colours` are those that a terminal shows words of a column in, by column and word.
    """
    cells = [[one_line(str(cell), _CELL_CHARACTERS) for cell in row] for row in rows]
    console = terminal()
    if not console.is_terminal:
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for row in ([*columns], *cells):
            say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    drawn = Table(header_style="dim", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in cells:
        drawn.add_row(
            *(Text(cell, colours.get(name, {}).get(cell, "")) for name, cell in zip(columns, row, strict=True))
        )
    console.print(drawn)


def terminal() -> Console:
    """Return the terminal, or whatever stands in its place, without any markup of its own."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def message_dict(message: Message) -> dict[str, Any]:
    """Return a message in proto3's JSON mapping with the contract's own field names."""
    from google.protobuf.json_format import MessageToDict

    content: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return content


def moment(microseconds: int) -> str:
    """Return a time in UTC to the millisecond, as ISO 8601; empty for none."""
    if not microseconds:
        return ""
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read it has seen enough.
        raise
    except OSError as error:
        message = f"standard output cannot be written: {error.strerror}"
        raise CommandFailed(message, reason="OUTPUT_FAILED") from error


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")
