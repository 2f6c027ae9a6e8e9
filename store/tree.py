"""The tree of a log that is stored: its root at any size, and proofs, from tiles and the records that fill none yet.

A call reads full tiles on the way from a leaf to the root, and at the right edge, for each level of tiles, at most 255
of the level below (of the lowest: 255 records). Where the checkpointer has not written a tile yet, what it is over is
read in its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from store.contract import CorruptLogError, CursorAheadError, EventReader
from store.merkle import (
    EMPTY_ROOT,
    Node,
    Span,
    consistency_spans,
    inclusion_spans,
    leaf_hash,
    root_of,
    span_hash,
    subtrees,
)
from store.tiles import TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, GrowingTree, hashes_of

_TileName = tuple[int, int]
"""level, tile_index."""


class LogTree:
    """Reads the tree of a log. Sizes and positions beyond the log raise CursorAheadError."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    async def root(self, size: int) -> bytes:
        """The root over the first `size` records."""
        if size == 0:
            return EMPTY_ROOT
        (root,) = await self._hashes(size, [(0, size)])
        return root

    async def inclusion_proof(self, position: int, size: int) -> list[bytes]:
        """The proof that the record at a position is in the tree of a size. Raises ValueError when it cannot be."""
        return await self._hashes(size, inclusion_spans(position - 1, size))

    async def consistency_proof(self, old_size: int, new_size: int) -> list[bytes]:
        """The proof that the tree of the new size begins with that of the old one. Raises ValueError for no such."""
        return await self._hashes(new_size, consistency_spans(old_size, new_size))

    async def grown(self, size: int) -> GrowingTree:
        """The tree of a size, to go on with."""
        view = _View(self._reader, size)
        edges: list[bytes] = []
        while size >> TILE_HEIGHT * len(edges):
            level = len(edges)
            count = size >> TILE_HEIGHT * level
            edges.append(b"".join(await view.tile(level, count >> TILE_HEIGHT) if count % TILE_WIDTH else ()))
        return GrowingTree(edges)

    async def _hashes(self, size: int, spans: Sequence[Span]) -> list[bytes]:
        view = _View(self._reader, size)
        hashes: dict[Node, bytes] = {}
        for span in spans:
            for node in subtrees(span):
                hashes[node] = await view.node(node)
        return [span_hash(span, hashes) for span in spans]


class _View:
    """The tree at one size, with what one call has read of it."""

    def __init__(self, reader: EventReader, size: int) -> None:
        self._reader = reader
        self._size = size
        self._tiles: dict[_TileName, list[bytes]] = {}

    async def node(self, node: Node) -> bytes:
        """The hash of a complete subtree."""
        height, place = node
        level, above = divmod(height, TILE_HEIGHT)
        first = place << above
        tile = await self.tile(level, first >> TILE_HEIGHT)
        start = first % TILE_WIDTH
        return root_of(tile[start : start + (1 << above)])

    async def tile(self, level: int, tile_index: int) -> list[bytes]:
        """The hashes of a tile, as far as the size fills it."""
        name = (level, tile_index)
        if name not in self._tiles:
            stored = await self._stored(level, tile_index, 1) if self._width(level, tile_index) == TILE_WIDTH else {}
            self._tiles[name] = stored.get(tile_index) or await self._computed(level, tile_index)
        return self._tiles[name]

    def _width(self, level: int, tile_index: int) -> int:
        return min(TILE_WIDTH, (self._size >> TILE_HEIGHT * level) - TILE_WIDTH * tile_index)

    async def _stored(self, level: int, first: int, count: int) -> dict[int, list[bytes]]:
        tiles = await self._reader.read_tiles(level, first, count)
        if any(len(tile.hashes) != TILE_BYTES for tile in tiles):
            raise CorruptLogError(f"a tile of level {level} does not hold {TILE_WIDTH} hashes")
        return {tile.tile_index: hashes_of(tile.hashes) for tile in tiles}

    async def _computed(self, level: int, tile_index: int) -> list[bytes]:
        first, width = TILE_WIDTH * tile_index, self._width(level, tile_index)
        if level == 0:
            events = await self._reader.read_all(first, width)
            if len(events) < width:
                raise CursorAheadError(f"the log ends at {first + len(events)}, before size {self._size}")
            return [leaf_hash(event.record) for event in events]
        below = await self._stored(level - 1, first, width)
        return [root_of(below.get(index) or await self.tile(level - 1, index)) for index in range(first, first + width)]
