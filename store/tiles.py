"""The tree as it is kept: in tiles of 256 hashes (C2SP tlog-tiles, height 8), written when they are full.

A tile of level 0 is over the hashes of 256 records, one of level l + 1 over the roots of 256 tiles of level l.
"""

from __future__ import annotations

from collections.abc import Sequence

from store.contract import Tile
from store.merkle import EMPTY_ROOT, HASH_BYTES, joined, root_of, subtrees

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES


def hashes_of(tile: bytes) -> list[bytes]:
    """The hashes of a tile, or of the beginning of one."""
    return [tile[start : start + HASH_BYTES] for start in range(0, len(tile), HASH_BYTES)]


class GrowingTree:
    """A tree that grows by leaves and hands out each tile when it is full."""

    def __init__(self, edges: Sequence[bytes] = ()) -> None:
        """Go on where a tree ends. An edge for each level, from 0: the hashes in its last tile, which is not full."""
        self._edges = [hashes_of(edge) for edge in edges]
        self.size = sum(len(edge) << TILE_HEIGHT * level for level, edge in enumerate(self._edges))
        """How many leaves there are: the position of the last record."""

    def extend(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Add the hashes of records, and return the tiles that they fill."""
        filled: list[Tile] = []
        start = 0
        while start < len(leaves):
            room = TILE_WIDTH - self.size % TILE_WIDTH
            taken = leaves[start : start + room]
            start += room
            self.size += len(taken)
            self._add(0, taken, filled)
        return filled

    def root(self) -> bytes:
        """The root over all leaves."""
        peaks: list[bytes] = []
        for edge in self._edges:
            # The higher levels come first, being the larger subtrees.
            peaks[:0] = [
                root_of(edge[place << height : (place + 1) << height]) for height, place in subtrees((0, len(edge)))
            ]
        return joined(peaks) if peaks else EMPTY_ROOT

    def _add(self, level: int, hashes: Sequence[bytes], filled: list[Tile]) -> None:
        """Add hashes to the last tile of a level, which has room for them, and what it then is to the level above."""
        if level == len(self._edges):
            self._edges.append([])
        edge = self._edges[level]
        edge += hashes
        if len(edge) == TILE_WIDTH:
            filled.append(Tile(level, (self.size >> TILE_HEIGHT * (level + 1)) - 1, b"".join(edge)))
            self._edges[level] = []
            self._add(level + 1, [root_of(edge)], filled)
