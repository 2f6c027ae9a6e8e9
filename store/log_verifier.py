"""Re-reads a whole log and verifies it: streaming, read-only, also while a server writes it.

What is verified is the log up to its head at the start; what commits later is left for the next time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from store.checkpoints import NoteError, Verifier, open_checkpoint, read_checkpoint, split_notes
from store.contract import PayloadMissingError, RecordedEvent, StoreError, Tile
from store.log_verification import Claim, Finding, LogVerification, Reference
from store.reader import LogReader

_BATCH_EVENTS = 1000
_PAGE_CHECKPOINTS = 100
_STORED = "the stored checkpoint"
_OUTSIDE = "the outside checkpoint"
_PAYLOADS_MAX = 100_000
"""Payloads that are remembered as verified."""

OnProgress = Callable[[int, int], None]
"""Told how many events are verified, of how many."""


class CheckpointsUnreadableError(ValueError):
    """What was given as checkpoints from outside holds none. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """What came of it."""

    head: int
    root: bytes | None
    """The root over all events; None: a record is missing."""
    events: int
    streams: int
    tenants: int
    payloads: int
    tiles: int
    checkpoints: int
    outside_checkpoints: int
    passed_over: int
    """Outside checkpoints that are incomplete, as after a crash."""
    findings: Sequence[Finding]
    """The first of them."""
    findings_count: int

    @property
    def is_clean(self) -> bool:
        """Whether everything is as it was written."""
        return self.findings_count == 0


class LogVerifier:
    """Verifies the log of a reader that is open."""

    def __init__(self, reader: LogReader, verifiers: Sequence[Verifier], on_progress: OnProgress | None = None) -> None:
        """`verifiers`: the keys that may have signed checkpoints."""
        self._reader = reader
        self._verifiers = list(verifiers)
        self._on_progress = on_progress
        self._seen_payloads: dict[tuple[str, bytes], None] = {}
        self._payloads = 0
        self._tiles = 0
        self._checkpoints = 0
        self._read_checkpoints_to = 0

    async def verify(self, outside: str = "") -> VerifiedLog:
        """Verify the log, also against the notes in a text that was kept outside of the database.

        Raises CheckpointsUnreadableError, and StoreError when the database cannot be read at all.
        """
        # The notes are older than the head that is read now, so an honest one never reaches beyond it.
        notes, passed_over = split_notes(outside)
        if outside and not notes:
            raise CheckpointsUnreadableError("what was kept outside holds no signed checkpoint")
        claims = [self._outside_claim(number, note) for number, note in enumerate(notes, 1)]
        extent = await self._reader.read_extent()
        verification = LogVerification(tiled_size=extent.checkpoint_size)
        for note, claim in zip(notes, claims, strict=True):
            self._expect(verification, note, claim)
        if extent.checkpoint_size > extent.head:
            verification.find(
                "LOG_TRUNCATED",
                f"the log ends at position {extent.head}, and a stored checkpoint covers {extent.checkpoint_size}",
            )
        if await self._is_read_through(verification, extent.head):
            verification.close(extent)
        return VerifiedLog(
            head=extent.head,
            root=verification.root(),
            events=verification.events_count,
            streams=verification.streams_count,
            tenants=verification.tenants_count,
            payloads=self._payloads,
            tiles=self._tiles,
            checkpoints=self._checkpoints,
            outside_checkpoints=len(notes),
            passed_over=passed_over,
            findings=verification.findings,
            findings_count=verification.findings_count,
        )

    def _outside_claim(self, number: int, note: str) -> Claim:
        try:
            return Claim(read_checkpoint(note), _OUTSIDE)
        except NoteError as error:
            raise CheckpointsUnreadableError(
                f"note {number} of what was kept outside cannot be read: {error}"
            ) from None

    def _expect(self, verification: LogVerification, note: str, claim: Claim) -> None:
        try:
            open_checkpoint(note, self._verifiers)
        except NoteError as error:
            verification.find("SIGNATURE", f"{claim.source} of size {claim.checkpoint.size}: {error}")
        # Whoever signed it: a root that is met does no harm, and one that is not is worth knowing.
        verification.expect([claim])

    async def _is_read_through(self, verification: LogVerification, head: int) -> bool:
        """Verify the rows up to the head, and tell whether all that are there could be read."""
        while verification.position < head:
            after = verification.position
            try:
                events = await self._reader.log_as_stored(after, _BATCH_EVENTS)
                events = [event for event in events if event.position <= head]
                if not events:
                    break
                await self._verify_batch(verification, events)
            except StoreError as error:
                verification.find("UNREADABLE", f"what stands behind position {after} cannot be read: {error}")
                return False
            if self._on_progress is not None:
                self._on_progress(verification.position, head)
        return True

    async def _verify_batch(self, verification: LogVerification, events: list[RecordedEvent]) -> None:
        for stream, before in verification.unknown_streams(events).items():
            verification.learn(stream, await self._reader.version_before(*stream, before))
        await self._expect_stored(verification, events[-1].position)
        tiles, references = verification.take(events)
        await self._compare_tiles(verification, tiles)
        for reference in references:
            await self._check_payload(verification, reference)

    async def _expect_stored(self, verification: LogVerification, until: int) -> None:
        """Load the stored checkpoints up to a position."""
        while True:
            page = await self._reader.read_checkpoints(self._read_checkpoints_to, _PAGE_CHECKPOINTS)
            for size, root, note in page:
                if size > until:
                    return
                self._read_checkpoints_to = size
                self._checkpoints += 1
                try:
                    checkpoint = read_checkpoint(note)
                except (NoteError, TypeError) as error:
                    # SQLite gives bytes for a column of text in which somebody has put bytes.
                    verification.find("SIGNATURE", f"{_STORED} of size {size}: {error}")
                    continue
                if (checkpoint.size, checkpoint.root) != (size, root):
                    verification.find("SIGNATURE", f"{_STORED} of size {size}: its note says something else")
                    continue
                self._expect(verification, note, Claim(checkpoint, _STORED))
            if len(page) < _PAGE_CHECKPOINTS:
                return

    async def _compare_tiles(self, verification: LogVerification, tiles: list[Tile]) -> None:
        stored: dict[tuple[int, int], bytes] = {}
        for level in {tile.level for tile in tiles}:
            indexes = [tile.tile_index for tile in tiles if tile.level == level]
            for tile in await self._reader.read_tiles(level, indexes[0], len(indexes)):
                stored[tile.level, tile.tile_index] = tile.hashes
        self._tiles += len(stored)
        verification.compare_tiles(tiles, stored)

    async def _check_payload(self, verification: LogVerification, reference: Reference) -> None:
        name = (reference.tenant, reference.digest)
        if name in self._seen_payloads:
            return
        problem = await self._payload_problem(reference)
        if problem:
            place = f"position {reference.position} of stream {reference.stream_id}"
            verification.find(
                "PAYLOAD", f"the payload {reference.digest.hex()} of {place} {problem}", position=reference.position
            )
        self._payloads += 1
        self._seen_payloads[name] = None
        if len(self._seen_payloads) > _PAYLOADS_MAX:
            del self._seen_payloads[next(iter(self._seen_payloads))]

    async def _payload_problem(self, reference: Reference) -> str:
        try:
            data = await self._reader.read_payload(reference.tenant, reference.digest)
        except PayloadMissingError:
            return "is missing"
        except TypeError:
            # SQLite gives text for a column of bytes in which somebody has put text.
            return "is no longer bytes"
        if hashlib.sha256(data).digest() != reference.digest:
            return "is not what its digest says"
        if len(data) != reference.size_bytes:
            return f"is {len(data)} bytes long, and the event says {reference.size_bytes}"
        return ""
