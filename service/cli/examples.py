"""Examples at the end of a command's help, which every command has, and what to type to run another command."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_AS_WRITTEN = "\b"
"""Before a paragraph, it keeps the help from filling its lines."""


def example(*lines: str) -> str:
    """Return the end of a command's help. The lines stay as they are written."""
    return "\n".join((_AS_WRITTEN, "Example:", *(f"  {line}" for line in lines)))


def this_command() -> str:
    """Return what to type for `podium` here: not everybody who runs it has it on their path."""
    invoked = Path(sys.argv[0])
    found = shutil.which("podium")
    is_found = found is not None and Path(found).resolve() == invoked.resolve()
    return "podium" if is_found or invoked.name != "podium" else str(invoked)
