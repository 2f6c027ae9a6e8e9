"""Verification of a whole log: a fold over its rows that finds whatever was not written so.

Pure: it is given rows, tiles and checkpoints, and holds the state of one pass. Nothing is trusted but the keys and the
checkpoints that were kept outside; what is in the database is compared with what follows from the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import DecodeError

from store.checkpoints import Checkpoint
from store.contract import SHARD, CorruptLogError, RecordedEvent, Tile
from store.merkle import EMPTY_ROOT, leaf_hash
from store.payload_references import payload_references
from store.records import TYPE_NAMES, Numbers, decode_record
from store.tiles import TILE_HEIGHT, TILE_WIDTH, GrowingTree, hashes_of
from store.verify import LogExtent, checked_numbers

FINDINGS_MAX = 1000
"""Findings that are kept; more are only counted."""
STREAMS_MAX = 100_000
"""Streams whose versions are kept in memory."""

StreamName = tuple[str, str]
"""tenant, stream_id."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written."""

    reason: str
    """What kind, stable, in upper snake case."""
    message: str
    """For a person; names the place."""
    position: int | None = None
    tenant: str = ""
    stream_id: str = ""


class Claim(NamedTuple):
    """A checkpoint to compare the log with."""

    checkpoint: Checkpoint
    source: str
    """Where it was kept, for messages: "the stored checkpoint", "the outside checkpoint"."""


class Reference(NamedTuple):
    """A payload that an event names."""

    position: int
    tenant: str
    stream_id: str
    digest: bytes
    size_bytes: int


class LogVerification:
    """One pass over a log, from its first event."""

    def __init__(self, *, shard: int = SHARD, tiled_size: int = 0) -> None:
        """`tiled_size`: up to here every full tile must be stored, because a checkpoint covers it."""
        self.findings: list[Finding] = []
        self.findings_count = 0
        self.events_count = 0
        self.streams_count = 0
        self.position = 0
        """How far it has come."""
        self._shard = shard
        self._tiled_size = tiled_size
        self._tree: GrowingTree | None = GrowingTree()
        """None: a record is missing, and there is no tree over what is left."""
        self._has_other_leaf = False
        self._claims: dict[int, list[Claim]] = {}
        self._contradicted: set[str] = set()
        """Sources with a claim that was not met: those that follow cannot be met either, and are not told."""
        self._recorded_at_us = 0
        self._sequences: dict[str, int | None] = {}
        """Of each tenant's last event; None: it could not be read."""
        self._versions: dict[StreamName, int | None] = {}
        self._names: dict[tuple[int, str, str], bytes] = {}

    @property
    def tenants_count(self) -> int:
        """How many tenants have events."""
        return len(self._sequences)

    def root(self) -> bytes | None:
        """The root over all events so far; None: a record is missing."""
        return None if self._tree is None else self._tree.root()

    def find(self, reason: str, message: str, event: RecordedEvent | None = None, position: int | None = None) -> None:
        """Take down a finding, about an event or a position or neither."""
        self.findings_count += 1
        if len(self.findings) < FINDINGS_MAX:
            if event is None:
                self.findings.append(Finding(reason, message, position))
            else:
                self.findings.append(Finding(reason, message, event.position, event.tenant, event.stream_id))

    def expect(self, claims: Iterable[Claim]) -> None:
        """Compare the log with these checkpoints, which lie ahead."""
        for claim in claims:
            if claim.checkpoint.size == 0:
                self._compare(claim, EMPTY_ROOT)
            else:
                self._claims.setdefault(claim.checkpoint.size, []).append(claim)

    def unknown_streams(self, events: Sequence[RecordedEvent]) -> dict[StreamName, int]:
        """The streams whose versions have to be learnt before these events, and the positions before which."""
        first: dict[StreamName, RecordedEvent] = {}
        for event in events:
            first.setdefault((event.tenant, event.stream_id), event)
        return {
            stream: event.position
            for stream, event in first.items()
            if event.stream_version != 1 and stream not in self._versions
        }

    def learn(self, stream: StreamName, version: int) -> None:
        """Remember the version of a stream that was forgotten."""
        self._versions[stream] = version

    def take(self, events: Sequence[RecordedEvent]) -> tuple[list[Tile], list[Reference]]:
        """Check the next rows. Returns the tiles that they fill, and the payloads that they name."""
        tiles: list[Tile] = []
        references: list[Reference] = []
        for event in events:
            if event.position <= self.position:
                self.find("OUT_OF_ORDER", f"position {event.position} stands behind {self.position}", event)
                continue
            self._advance(event)
            self.events_count += 1
            self._check(event, references)
            if self._tree is not None:
                tiles += self._grown(self._tree, event)
            for claim in self._claims.pop(event.position, ()):
                self._compare(claim, self.root())
        self._forget()
        return tiles, references

    def compare_tiles(self, tiles: Iterable[Tile], stored: Mapping[tuple[int, int], bytes]) -> None:
        """Compare tiles that the records fill with those that are stored, by level and index."""
        for tile in tiles:
            kept = stored.get((tile.level, tile.tile_index))
            if kept is None:
                end = (tile.tile_index + 1) << TILE_HEIGHT * (tile.level + 1)
                if end <= self._tiled_size:
                    self.find(
                        "TILE_MISSING",
                        f"tile {tile.tile_index} of level {tile.level} is missing, before position {end}",
                    )
            elif kept != tile.hashes:
                self._differs(tile, kept)

    def close(self, extent: LogExtent) -> None:
        """Compare the end of the log with what is said about it."""
        if self.position < extent.head:
            self.find("POSITION_MISSING", f"the log ends at position {self.position}, and its head says {extent.head}")
        if extent.first_position < 1:
            self.find(
                "OUT_OF_ORDER",
                f"there are events from position {extent.first_position} on, ahead of the first",
                position=extent.first_position,
            )
        if extent.last_position > extent.head:
            self.find(
                "HEAD_BEHIND",
                f"there are events up to position {extent.last_position}, beyond the head {extent.head}",
                position=extent.last_position,
            )
        if extent.tile_count * TILE_WIDTH > extent.head:
            self.find(
                "LOG_TRUNCATED",
                f"tiles cover {extent.tile_count * TILE_WIDTH} events, and the log ends at {extent.head}",
            )
        for tenant in sorted({*self._sequences, *extent.sequences}):
            seen, said = self._sequences.get(tenant, 0), extent.sequences.get(tenant, 0)
            if seen is not None and seen != said:
                self.find("TENANT_SEQUENCE", f"tenant {tenant} has {seen} events, and its row says {said}")
        beyond = {claim.source: size for size in sorted(self._claims) for claim in self._claims[size]}
        for source, size in beyond.items():
            if size > extent.head:
                self.find("LOG_TRUNCATED", f"the log ends at position {extent.head}, and {source} covers {size}")

    def _grown(self, tree: GrowingTree, event: RecordedEvent) -> list[Tile]:
        try:
            return tree.extend([leaf_hash(event.record)])
        except TypeError:
            # SQLite gives text for a column of bytes in which somebody has put text.
            self._tree = None
            return []

    def _advance(self, event: RecordedEvent) -> None:
        expected = self.position + 1
        if event.position != expected:
            missing = (
                f"position {expected}"
                if event.position == expected + 1
                else f"positions {expected} to {event.position - 1}"
            )
            verb = "is" if event.position == expected + 1 else "are"
            self.find("POSITION_MISSING", f"{missing} {verb} missing", position=expected)
            self._tree = None
            for size in [size for size in self._claims if size < event.position]:
                for claim in self._claims.pop(size):
                    self._compare(claim, None)
        self.position = event.position

    def _check(self, event: RecordedEvent, references: list[Reference]) -> None:
        stream = (event.tenant, event.stream_id)
        try:
            numbers = checked_numbers(event, self._shard, self._names)
        except CorruptLogError as error:
            self.find("RECORD_CONTRADICTS_COLUMNS", str(error), event)
            self._sequences[event.tenant] = self._versions[stream] = None
            return
        self._check_order(event, stream, numbers)
        try:
            decoded = decode_record(event.record)
        except DecodeError:
            self.find("RECORD_UNREADABLE", f"the record at position {event.position} is no event", event)
            return
        name = TYPE_NAMES.get(event.type)
        if name is not None and decoded.WhichOneof("payload") != name:
            self.find("RECORD_UNREADABLE", f"the record at position {event.position} is no {name}", event)
        references.extend(
            Reference(event.position, event.tenant, event.stream_id, reference.digest, reference.size_bytes)
            for reference in payload_references(decoded, event.record)
        )

    def _check_order(self, event: RecordedEvent, stream: StreamName, numbers: Numbers) -> None:
        if numbers.recorded_at_us < self._recorded_at_us:
            self.find("RECORDED_EARLIER", f"position {event.position} was recorded before the one ahead of it", event)
        self._recorded_at_us = numbers.recorded_at_us
        sequence = self._sequences.get(event.tenant, 0)
        if sequence is not None and numbers.tenant_sequence != sequence + 1:
            self.find(
                "TENANT_SEQUENCE",
                f"position {event.position} is event {numbers.tenant_sequence} of tenant {event.tenant}, "
                f"after event {sequence}",
                event,
            )
        self._sequences[event.tenant] = numbers.tenant_sequence
        version = self._versions.get(stream, 0)
        if version is not None and numbers.stream_version != version + 1:
            self.find(
                "STREAM_VERSION",
                f"position {event.position} is version {numbers.stream_version} of stream {event.stream_id}, "
                f"after version {version}",
                event,
            )
        self.streams_count += numbers.stream_version == 1
        self._versions[stream] = numbers.stream_version

    def _compare(self, claim: Claim, root: bytes | None) -> None:
        if root == claim.checkpoint.root or claim.source in self._contradicted:
            return
        self._contradicted.add(claim.source)
        size = claim.checkpoint.size
        problem = "cannot be met, because records are missing" if root is None else "has another root than they have"
        self.find("ROOT_DIFFERS", f"{claim.source} of the first {size} events {problem}")

    def _differs(self, tile: Tile, kept: bytes) -> None:
        if tile.level == 0 and len(kept) == len(tile.hashes):
            for offset, (hashed, leaf) in enumerate(zip(hashes_of(kept), hashes_of(tile.hashes), strict=True)):
                if hashed != leaf:
                    position = TILE_WIDTH * tile.tile_index + offset + 1
                    self.find(
                        "TILE_DIFFERS",
                        f"the record at position {position} is not the one that its tile has hashed",
                        position=position,
                    )
            self._has_other_leaf = True
        elif tile.level == 0 or not self._has_other_leaf:
            # What is above a leaf that differs, differs too.
            self.find("TILE_DIFFERS", f"tile {tile.tile_index} of level {tile.level} is not over what is below it")

    def _forget(self) -> None:
        while len(self._versions) > STREAMS_MAX:
            del self._versions[next(iter(self._versions))]
        if len(self._names) > STREAMS_MAX:
            self._names.clear()
