"""The chunks an attempt has streamed and the service has not acknowledged.

Chunks are numbered from 1 without gaps and kept until they are durable, so that a new session can resend them. Only
so many bytes are kept: then whoever produces them waits, and the back-pressure reaches the tool.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from podium.errors import Canceled

UNACKNOWLEDGED_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of streamed output and its number."""

    sequence: int
    data: bytes


class Transcript:
    """One attempt's chunks."""

    def __init__(self, unacknowledged_max_bytes: int) -> None:
        self.count = 0
        self.acknowledged = 0
        self._max_bytes = unacknowledged_max_bytes
        self._kept: deque[Chunk] = deque()
        self._kept_bytes = 0
        self._changed = asyncio.Event()
        self._closed = False

    async def add(self, data: bytes) -> Chunk:
        """Numbers a piece and keeps it, as soon as there is room for it; raises Canceled when the transcript closes."""
        while self._kept_bytes >= self._max_bytes and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        if self._closed:
            raise Canceled("the attempt is not wanted any more")
        self.count += 1
        chunk = Chunk(self.count, data)
        self._kept.append(chunk)
        self._kept_bytes += len(data)
        return chunk

    def acknowledge(self, sequence: int) -> None:
        """Forgets all chunks up to this one; they are durable."""
        self.acknowledged = max(self.acknowledged, sequence)
        while self._kept and self._kept[0].sequence <= sequence:
            self._kept_bytes -= len(self._kept.popleft().data)
        self._changed.set()

    def after(self, sequence: int) -> Iterator[Chunk]:
        """Yields the chunks that follow and are kept; all there were, when `covers` says so."""
        return (chunk for chunk in self._kept if chunk.sequence > sequence)

    def covers(self, sequence: int) -> bool:
        """Whether every chunk after this one is still here."""
        return sequence >= self.acknowledged

    def close(self) -> None:
        """Takes no more; whoever waits for room is told that the attempt is not wanted."""
        self._closed = True
        self._changed.set()
