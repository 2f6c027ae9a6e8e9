"""The tree as it is kept: in tiles of 256 hashes (C2SP tlog-tiles, height 8), written when they are full.

A tile of level 0 is over the hashes of 256 records, one of level l + 1 over the roots of 256 tiles of level l.
"""

from __future__ import annotations

from collections.abc import Sequence

from store.contract import Tile
from store.merkle import HASH_BYTES, CompactRange, root_of, subtrees

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES


def hashes_of(tile: bytes) -> list[bytes]:
    """The hashes of a tile, or of the beginning of one."""
    return [tile[start : start + HASH_BYTES] for start in range(0, len(tile), HASH_BYTES)]


class GrowingTree:
    """A tree that grows by one leaf at a time and hands out each tile when it is full."""

    def __init__(self, edges: Sequence[bytes] = ()) -> None:
        """Go on where a tree ends. An edge for each level, from 0: the hashes in its last tile, which is not full."""
        self._edges = [bytearray(edge) for edge in edges]
        size = 0
        peaks: list[bytes] = []
        for level, edge in enumerate(edges):
            hashes = hashes_of(edge)
            size += len(hashes) << TILE_HEIGHT * level
            # The higher levels come first, being the larger subtrees.
            peaks[:0] = [
                root_of(hashes[place << height : (place + 1) << height]) for height, place in subtrees((0, len(hashes)))
            ]
        self._range = CompactRange(size, peaks)

    @property
    def size(self) -> int:
        """How many leaves there are: the position of the last record."""
        return self._range.size

    def append(self, leaf: bytes) -> list[Tile]:
        """Add the hash of a record, and return the tiles that it fills."""
        filled: list[Tile] = []
        for level, node in enumerate(self._range.append(leaf)[::TILE_HEIGHT]):
            if level == len(self._edges):
                self._edges.append(bytearray())
            edge = self._edges[level]
            edge += node
            if len(edge) == TILE_BYTES:
                filled.append(Tile(level, (self.size >> TILE_HEIGHT * (level + 1)) - 1, bytes(edge)))
                edge.clear()
        return filled

    def root(self) -> bytes:
        """The root over all leaves."""
        return self._range.root()
