"""Text that is safe to print: what a tool or a stranger wrote must not steer the terminal.

Invariant: no control character leaves this module but the line breaks that were asked for.
"""

from __future__ import annotations

ELLIPSIS = "…"
_TABULATOR = "\t"


def printable(text: str, *, lines: bool = False) -> str:
    """Return the text without control characters; with `lines`, its line breaks stay."""
    if text.isprintable():
        return text
    kept = "\n" if lines else ""
    return "".join(
        character if character.isprintable() or character in kept else " " if character.isspace() else ""
        for character in text.replace(_TABULATOR, "    ")
    )


def one_line(text: str, max_characters: int = 0) -> str:
    """Return the text as one line, every run of white space made a space, cut to a length if there is one."""
    # Only the beginning is looked at: a text of megabytes is cut to a line.
    start = text[: 8 * max_characters] if max_characters else text
    flat = " ".join(printable(start).split())
    if max_characters and (len(flat) > max_characters or len(start) < len(text)):
        return flat[: max_characters - 1].rstrip() + ELLIPSIS
    return flat


def last_line(text: str) -> str:
    """Return the last line that is not empty, as one line; the newest of what is streamed."""
    for line in reversed(text.splitlines()):
        if flat := one_line(line):
            return flat
    return ""


def duration(microseconds: int) -> str:
    """Return a span of time with as many digits as a reader wants: 0.84 s, 12.3 s, 3 min 05 s, 2 h 10 min."""
    seconds = max(0, microseconds) / 1e6
    if seconds < 10:  # noqa: PLR2004 -- the bounds are told above
        return f"{seconds:.2f} s"
    if seconds < 60:  # noqa: PLR2004 -- as above
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 -- as above
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def counted(count: int, noun: str) -> str:
    """Return the count with its noun: 1 step, 2 steps."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
