"""Examples at the end of a command's help: every command has one, and its lines stay as they are written."""

from __future__ import annotations

_AS_WRITTEN = "\b"
"""Before a paragraph, it keeps the help from filling its lines."""


def example(*lines: str) -> str:
    """Return the end of a command's help."""
    return "\n".join((_AS_WRITTEN, "Example:", *(f"  {line}" for line in lines)))
