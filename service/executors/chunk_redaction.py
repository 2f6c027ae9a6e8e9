"""Takes secrets out of streamed output, also those that lie across chunks.

A chunk is held back, and not acknowledged, for as long as its end may be the beginning of a secret. Chunks keep their
number and their order: what is found is replaced where it begins, and missing where it goes on.
"""

from __future__ import annotations

from itertools import accumulate

from podium.v1 import executor_service_pb2 as wire
from service.admission.redaction import HELD_BYTES_MAX, Redactor, Span, replaced
from service.admission.secret_shapes import edge_begun


class ChunkRedactor:
    """The end of one attempt's stream. What it holds back is sent again by the executor when it is lost."""

    def __init__(self, redactor: Redactor, names: dict[str, None]) -> None:
        """The names of what is found are added to `names`."""
        self._redactor = redactor
        self._names = names
        self._held: list[wire.AttemptChunk] = []
        self._before = b""
        """The end of what was let go, where it may be the beginning of what stands before a secret: a backslash."""

    def take(self, chunk: wire.AttemptChunk) -> list[wire.AttemptChunk]:
        """Take the next chunk, and return those that may be made durable now."""
        self._held.append(chunk)
        data = self._data()
        return self._release(data, self._redactor.pending_from(data))

    def end(self) -> list[wire.AttemptChunk]:
        """No more follows: return all that is held back."""
        data = self._data()
        return self._release(data, len(data))

    def _data(self) -> bytes:
        if len(self._held) == 1 and not self._before:
            return self._held[0].data
        return b"".join((self._before, *(each.data for each in self._held)))

    def _release(self, data: bytes, settled: int) -> list[wire.AttemptChunk]:
        """Replace what is found in the data up to `settled`, and let go of the chunks that end before."""
        known = len(self._before)
        found = self._redactor.find(data)
        if found and known:
            found = [span._replace(start=max(span.start, known)) for span in found if span.end > known]
        for span in found:
            # One that reaches into what is held back may become longer.
            if span.end > settled:
                settled = min(settled, span.start)
        if len(data) - settled > HELD_BYTES_MAX:
            settled = len(data)
        if not found and settled == len(data):
            released, self._held = self._held, []
            self._before = edge_begun(data, len(data))
            return released
        found = [span for span in found if span.end <= settled]
        ends = list(accumulate((len(each.data) for each in self._held), initial=known))
        chunks = _rewritten(self._held, ends, data, found, self._names) if found else self._held
        count = sum(end <= settled for end in ends[1:])
        if count:
            self._before = edge_begun(data, ends[count])
        self._held = chunks[count:]
        return chunks[:count]


def _rewritten(
    chunks: list[wire.AttemptChunk], ends: list[int], data: bytes, found: list[Span], names: dict[str, None]
) -> list[wire.AttemptChunk]:
    """The chunks, which lie between these places, without what was found."""
    rewritten = []
    for chunk, start, end in zip(chunks, ends, ends[1:], strict=False):
        # Each part of a secret belongs to the chunk it is in; only the first part is said to have been there.
        parts = [span for span in found if span.start < end and span.end > start]
        if parts:
            kept = _without(data, start, end, parts, names)
            rewritten.append(wire.AttemptChunk(attempt=chunk.attempt, sequence=chunk.sequence, data=kept))
        else:
            rewritten.append(chunk)
    return rewritten


def _without(data: bytes, start: int, end: int, parts: list[Span], names: dict[str, None]) -> bytes:
    first = parts[0]
    kept_from = start
    if first.start < start:
        kept_from = min(first.end, end)
        parts = parts[1:]
    local = [Span(span.start - kept_from, min(span.end, end) - kept_from, span.name) for span in parts]
    return replaced(data[kept_from:end], local, names)
