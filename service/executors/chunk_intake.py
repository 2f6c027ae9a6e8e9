"""The chunks of a session on their way to the log: cleaned, made durable in order, then acknowledged.

What an attempt's digest is over is the order in which its chunks became durable, so one batch follows the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from podium.v1 import executor_service_pb2 as wire
from service.engine.attempts import LiveAttempt
from service.engine.watchers import Watchers
from service.executors.outputs import Outputs
from store.contract import EventStore, OutputChunk, QueueFullError, RecordedChunk, StoreError

logger = logging.getLogger(__name__)

UNSAVED_BYTES = 8 * 1024 * 1024
"""Bytes of chunks that may wait to be durable before the executor is not read any further."""
_AGAIN_AFTER_S = 0.05


class ChunkIntake:
    """Takes the chunks of one session."""

    def __init__(
        self,
        store: EventStore,
        outputs: Outputs,
        watchers: Watchers,
        *,
        spawn: Callable[[Coroutine[Any, Any, object]], None],
        durable: Callable[[LiveAttempt], None],
        lost: Callable[[], None],
    ) -> None:
        """`durable` is told of each attempt that has more durable chunks, `lost` that some could not be made so."""
        self._store = store
        self._outputs = outputs
        self._watchers = watchers
        self._spawn = spawn
        self._durable = durable
        self._lost = lost
        self._unsaved: list[tuple[LiveAttempt, wire.AttemptChunk]] = []
        self._unsaved_bytes = 0
        self._saved = asyncio.Event()
        self._saving = False
        self._ended = False

    def take(self, live: LiveAttempt, chunk: wire.AttemptChunk) -> None:
        """Take an attempt's next chunk."""
        live.received_chunks += 1
        self._keep(live, self._outputs.next_chunks(live, chunk))

    def complete(self, live: LiveAttempt) -> None:
        """No more chunks of an attempt follow."""
        self._keep(live, self._outputs.last_chunks(live))

    def save(self) -> None:
        """Make durable what was taken."""
        if self._unsaved and not self._saving:
            self._saving = True
            self._spawn(self._save())

    async def may_take(self) -> None:
        """Wait until so much of what was taken is durable that more may be."""
        while self._unsaved_bytes > UNSAVED_BYTES and not self._ended:
            self._saved.clear()
            await self._saved.wait()

    def end(self) -> None:
        """The session is over: what is not durable comes again."""
        self._ended = True
        self._saved.set()

    def _keep(self, live: LiveAttempt, chunks: Iterable[wire.AttemptChunk]) -> None:
        for chunk in chunks:
            self._unsaved.append((live, chunk))
            self._unsaved_bytes += len(chunk.data)

    async def _save(self) -> None:
        try:
            while self._unsaved and not self._ended:
                chunks, self._unsaved = self._unsaved, []
                await self._make_durable(chunks)
                self._unsaved_bytes -= sum(len(chunk.data) for _, chunk in chunks)
                self._saved.set()
        finally:
            self._saving = False

    async def _append(self, rows: Sequence[OutputChunk]) -> Sequence[RecordedChunk] | None:
        """What was recorded; None: the session is over. A writer that has too much to do is asked again."""
        while not self._ended:
            try:
                return await self._store.append_chunks(rows)
            except QueueFullError:
                # Meanwhile the executor is not read beyond the bound: that is what holds it back.
                await asyncio.sleep(_AGAIN_AFTER_S)
        return None

    async def _make_durable(self, chunks: list[tuple[LiveAttempt, wire.AttemptChunk]]) -> None:
        rows = [
            OutputChunk(
                *live.key, attempt=live.attempt, sequence=chunk.sequence, data=self._outputs.chunk(live, chunk.data)
            )
            for live, chunk in chunks
        ]
        try:
            recorded = await self._append(rows)
        except StoreError:
            logger.exception("chunks could not be made durable; the executor sends them again when it is back")
            self._lost()
            return
        if recorded is None:
            return
        acknowledged: dict[int, LiveAttempt] = {}
        for (live, chunk), row in zip(chunks, recorded, strict=True):
            acknowledged[id(live)] = live
            if chunk.sequence != live.durable_chunks + 1:
                # It was on its way to the log from an earlier session already, and has been counted.
                continue
            # As it is recorded: a sealed chunk that comes again is sealed anew, and left as it was.
            live.chunks_digest.update(row.data)
            live.durable_chunks = chunk.sequence
            self._watchers.publish(live.key.workflow, row)
        for live in acknowledged.values():
            self._durable(live)
