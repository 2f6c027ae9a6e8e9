"""Takes secrets out of streamed output, also those that lie across chunks.

A chunk is held back, and not acknowledged, for as long as its end may be the beginning of a secret. Chunks keep their
number and their order: what is found is replaced where it begins, and missing where it goes on.
"""

from __future__ import annotations

from itertools import accumulate

from podium.v1 import executor_service_pb2 as wire
from service.admission.redaction import HELD_BYTES_MAX, Redactor, Span, replaced


class ChunkRedactor:
    """The end of one attempt's stream. What it holds back is sent again by the executor when it is lost."""

    def __init__(self, redactor: Redactor, names: dict[str, None]) -> None:
        """The names of what is found are added to `names`."""
        self._redactor = redactor
        self._names = names
        self._held: list[wire.AttemptChunk] = []

    def take(self, chunk: wire.AttemptChunk) -> list[wire.AttemptChunk]:
        """Take the next chunk, and return those that may be made durable now."""
        self._held.append(chunk)
        data = chunk.data if len(self._held) == 1 else b"".join(each.data for each in self._held)
        return self._release(data, self._redactor.pending_from(data))

    def end(self) -> list[wire.AttemptChunk]:
        """No more follows: return all that is held back."""
        data = b"".join(each.data for each in self._held)
        return self._release(data, len(data))

    def _release(self, data: bytes, settled: int) -> list[wire.AttemptChunk]:
        """Replace what is found in the data up to `settled`, and let go of the chunks that end before."""
        found = self._redactor.find(data)
        for span in found:
            # One that reaches into what is held back may become longer.
            if span.end > settled:
                settled = min(settled, span.start)
        if len(data) - settled > HELD_BYTES_MAX:
            settled = len(data)
        found = [span for span in found if span.end <= settled]
        ends = list(accumulate(len(each.data) for each in self._held))
        chunks = _rewritten(self._held, ends, data, found, self._names) if found else self._held
        count = sum(end <= settled for end in ends)
        self._held = chunks[count:]
        return chunks[:count]


def _rewritten(
    chunks: list[wire.AttemptChunk], ends: list[int], data: bytes, found: list[Span], names: dict[str, None]
) -> list[wire.AttemptChunk]:
    """The chunks without what was found."""
    rewritten = []
    start = 0
    for chunk, end in zip(chunks, ends, strict=True):
        # Each part of a secret belongs to the chunk it is in; only the first part is said to have been there.
        parts = [span for span in found if span.start < end and span.end > start]
        if parts:
            kept = _without(data, start, end, parts, names)
            rewritten.append(wire.AttemptChunk(attempt=chunk.attempt, sequence=chunk.sequence, data=kept))
        else:
            rewritten.append(chunk)
        start = end
    return rewritten


def _without(data: bytes, start: int, end: int, parts: list[Span], names: dict[str, None]) -> bytes:
    first = parts[0]
    kept_from = start
    if first.start < start:
        kept_from = min(first.end, end)
        parts = parts[1:]
    local = [Span(span.start - kept_from, min(span.end, end) - kept_from, span.name) for span in parts]
    return replaced(data[kept_from:end], local, names)
