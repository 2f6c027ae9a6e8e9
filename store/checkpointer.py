"""The checkpointer: follows the log off its hot path, writes the tree's tiles, and signs checkpoints.

Invariant: every tree that is signed begins with the one that was signed before. Where what is stored contradicts that,
nothing is signed any more, and the operator is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from store.checkpoint_copies import CheckpointCopy, CopyFailed
from store.checkpoints import Checkpoint, NoteError, Signer, UnknownSignerError, open_checkpoint, read_checkpoint
from store.contract import (
    CorruptLogError,
    CursorAheadError,
    EventStore,
    QueueFullError,
    RecordedEvent,
    StoreError,
    Tile,
)
from store.merkle import leaf_hash
from store.tiles import TILE_WIDTH, GrowingTree
from store.tree import LogTree

_logger = logging.getLogger(__name__)

GATHERING_S = 0.1
"""How long commits gather before the tree grows by them; signing has an interval of its own."""
FINISH_MAX_S = 5.0
"""How long the last checkpoint of a process may take."""
_STORED = "the last checkpoint in the database"
_OUTSIDE = "the last checkpoint outside of it"


class LogContradictedError(StoreError):
    """The log is not the one that a checkpoint was signed of."""

    reason = "LOG_CONTRADICTED"


class Checkpointer:
    """Signs a log as long as it agrees with what was signed before."""

    def __init__(
        self,
        store: EventStore,
        signer: Signer,
        copies: Sequence[CheckpointCopy],
        *,
        every_events: int,
        interval_s: float,
    ) -> None:
        """A checkpoint is due after so many events, and after this time when the log has grown at all."""
        self._store = store
        self._signer = signer
        self._copies = copies
        self._every_events = every_events
        self._interval_s = interval_s
        self._tree: GrowingTree | None = None
        """None: what is stored was not looked at yet, or contradicts a checkpoint."""
        self._filled: list[Tile] = []
        """Tiles that are not durable yet."""
        self._signed_size = 0
        self._note = ""
        self._behind: list[CheckpointCopy] = []
        """The copies that the newest note has not reached."""
        self._due = asyncio.Event()
        self._is_over = False
        self.problem = ""
        """Why nothing is signed any more; empty: it is."""

    @property
    def signed_size(self) -> int:
        """How many events the newest checkpoint covers."""
        return self._signed_size

    async def run(self) -> None:
        """Follow the log until the store closes, or until the log contradicts what was signed."""
        try:
            tree = self._tree = await self._resumed()
        except LogContradictedError as error:
            self._contradicted(error)
            return
        except StoreError as error:
            _logger.info("the checkpointer ends: %s", error)
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(tree))
            group.create_task(self._sign_when_due(tree))

    def _contradicted(self, error: StoreError) -> None:
        self.problem = str(error)
        _logger.critical("no checkpoint is signed any more: %s; `podium log verify` shows what differs", error)

    async def finish(self) -> None:
        """Sign what the log has grown by, for a bounded time. Called when `run` has been cancelled."""
        tree = self._tree
        if tree is None:
            return
        try:
            async with asyncio.timeout(FINISH_MAX_S):
                while tree.size < self._store.head:
                    await self._grow(tree, await self._store.read_all(tree.size))
                await self._write(tree)
                await self._copy()
        except (StoreError, TimeoutError) as error:
            _logger.warning("the last events are in no checkpoint until the next start: %r", error)

    async def _resumed(self) -> GrowingTree:
        """The tree of the last checkpoint. Raises LogContradictedError."""
        stored = await self._store.last_checkpoint()
        if stored is not None:
            await self._require(self._claimed(stored.note, _STORED), _STORED)
            self._signed_size, self._note = stored.size, stored.note
        for copy in self._copies:
            note = await self._last_of(copy)
            if note:
                await self._require(self._claimed(note, _OUTSIDE), _OUTSIDE)
            if self._note and note != self._note:
                self._behind.append(copy)
        return await self._grown(self._signed_size)

    async def _last_of(self, copy: CheckpointCopy) -> str | None:
        try:
            return await copy.last()
        except CopyFailed as error:
            self._tell(error)
            return None

    def _claimed(self, note: str, what: str) -> Checkpoint:
        """What a note claims. Raises LogContradictedError when it is forged."""
        try:
            return open_checkpoint(note, [self._signer.verifier])
        except UnknownSignerError as error:
            # The key was replaced. A forger of the log gains nothing by this: it could as well remove the note.
            _logger.warning("%s: %s; the log goes on under %s", what, error, self._signer.verifier.text())
            return read_checkpoint(note)
        except NoteError as error:
            raise LogContradictedError(f"{what} is not as it was signed: {error}") from None

    async def _require(self, claim: Checkpoint, what: str) -> None:
        """Raise LogContradictedError unless the log is the one that a checkpoint was made of."""
        if claim.size > self._store.head:
            raise LogContradictedError(f"the log ends at position {self._store.head}, and {what} covers {claim.size}")
        tree = await self._grown(claim.size)
        if tree.root() != claim.root:
            raise LogContradictedError(
                f"the root of the first {claim.size} events is not that of {what}: they were altered"
            )

    async def _grown(self, size: int) -> GrowingTree:
        try:
            return await LogTree(self._store).grown(size)
        except (CorruptLogError, CursorAheadError) as error:
            raise LogContradictedError(str(error)) from error

    async def _follow(self, tree: GrowingTree) -> None:
        try:
            async for batch in self._store.subscribe(tree.size):
                await self._grow(tree, batch.events)
                if tree.size - self._signed_size >= self._every_events:
                    self._due.set()
                if batch.caught_up:
                    # To be woken by every group commit would cost more than its leaves do.
                    await asyncio.sleep(GATHERING_S)
        except CorruptLogError as error:
            self._tree = None
            self._contradicted(error)
        except StoreError as error:
            _logger.info("the checkpointer ends: %s", error)
        finally:
            self._is_over = True
            self._due.set()

    async def _sign_when_due(self, tree: GrowingTree) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._due.wait()
            if self._is_over:
                return
            self._due.clear()
            try:
                await self._write(tree)
            except QueueFullError:
                _logger.warning("the log's writer is too busy for a checkpoint; it is tried again")
            except StoreError as error:
                _logger.info("the checkpointer ends: %s", error)
                return
            await self._copy()

    async def _grow(self, tree: GrowingTree, events: Sequence[RecordedEvent]) -> None:
        """Add the leaves of the events. Wherever it is interrupted, tree and tiles are in step."""
        for start in range(0, len(events), TILE_WIDTH):
            self._filled += tree.extend([leaf_hash(event.record) for event in events[start : start + TILE_WIDTH]])
            # The loop has others to serve between one tile's worth and the next.
            await asyncio.sleep(0)

    async def _write(self, tree: GrowingTree) -> None:
        """Make what has grown durable: first in the database, the tiles together with the checkpoint over them."""
        if tree.size == self._signed_size:
            return
        checkpoint = self._signer.sign(tree.size, tree.root())
        tiles = self._filled[:]
        await self._store.write_tree(tiles, checkpoint)
        del self._filled[: len(tiles)]
        self._signed_size, self._note = checkpoint.size, checkpoint.note
        self._behind = list(self._copies)

    async def _copy(self) -> None:
        """Bring the newest note to where it is not yet, unless another process may have signed newer ones meanwhile."""
        if not self._store.is_current:
            return
        behind: list[CheckpointCopy] = []
        for copy in self._behind:
            try:
                await copy.keep(self._note)
            except CopyFailed as error:
                self._tell(error)
                behind.append(copy)
        self._behind = behind

    def _tell(self, error: CopyFailed) -> None:
        _logger.error("%s; it is tried again with the next checkpoint", error)
