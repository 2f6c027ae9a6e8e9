"""What a tool hands back: its output as JSON text, and the pieces it streams as bytes."""

from __future__ import annotations

from dataclasses import dataclass

from podium.errors import ToolFailed
from podium.json_text import to_json


@dataclass(frozen=True, slots=True)
class Output:
    """Yielded last by a tool that streams: its output, beside the pieces."""

    value: object


def output_json(value: object) -> str:
    """Returns an output as JSON text. Another attempt would not help one that has no JSON form."""
    try:
        return to_json(value)
    except ValueError as error:
        raise ToolFailed(f"the output is not JSON: {error}", reason="INVALID_OUTPUT", retryable=False) from None


def piece_bytes(piece: object) -> bytes:
    """Returns a streamed piece as bytes: text as UTF-8, bytes as they are, anything else as a line of JSON."""
    if isinstance(piece, str):
        return piece.encode("utf-8", "replace")
    if isinstance(piece, bytes | bytearray | memoryview):
        return bytes(piece)
    return output_json(piece).encode() + b"\n"


class Pieces:
    """Sorts what a generator yields into pieces and, at the end, an output."""

    def __init__(self, *, streams_output: bool) -> None:
        self._streams_output = streams_output
        self._output: str | None = None

    def take(self, piece: object) -> bytes:
        """Returns the bytes of a piece; none for the output."""
        if self._output is not None:
            raise _invalid("something was yielded after podium.Output, which comes last")
        if not isinstance(piece, Output):
            return piece_bytes(piece)
        if self._streams_output:
            raise _invalid("the pieces are the output of this tool (streams_output); it cannot yield another")
        self._output = output_json(piece.value)
        return b""

    def output(self) -> str | None:
        """Returns the output as JSON text; None when the pieces are the output."""
        return None if self._streams_output else self._output or "null"


def _invalid(message: str) -> ToolFailed:
    return ToolFailed(message, reason="INVALID_OUTPUT", retryable=False)
