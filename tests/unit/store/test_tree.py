"""The tree of a stored log, read from tiles: the same as over all records, and cheap at any size."""

import pytest

from store.contract import CorruptLogError, CursorAheadError, RecordedEvent, Tile
from store.merkle import is_consistent, is_included, leaf_hash, root_of
from store.tiles import TILE_BYTES, TILE_WIDTH, GrowingTree
from store.tree import LogTree

SIZES = (1, 2, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537, 66_000, 100_000)


class CountingLog:
    """A log of records and tiles in memory, which counts what is read of it."""

    def __init__(self, size, tiled=None):
        self.records = [b"record %d" % position for position in range(1, size + 1)]
        self.leaves = [leaf_hash(record) for record in self.records]
        self.tiles = {tile[:2]: tile for tile in GrowingTree().extend(self.leaves[:tiled])}
        self.forget()

    def forget(self):
        self.records_read = self.tiles_read = 0

    async def read_all(self, after_position=0, limit=1000, tenant=None):
        found = enumerate(self.records[after_position : after_position + limit], after_position + 1)
        events = [RecordedEvent(position, "", "", 1, 1, 0, record) for position, record in found]
        self.records_read += len(events)
        return events

    async def read_tiles(self, level, first, count):
        found = [self.tiles[level, index] for index in range(first, first + count) if (level, index) in self.tiles]
        self.tiles_read += len(found)
        return found


@pytest.fixture(scope="module")
def log():
    return CountingLog(100_000)


@pytest.fixture
def tree(log):
    log.forget()
    return LogTree(log)


@pytest.mark.parametrize("size", SIZES)
async def test_the_root_at_any_size_is_the_one_over_its_records(log, tree, size):
    assert await tree.root(size) == root_of(log.leaves[:size])


@pytest.mark.parametrize("piece", [1, 7, 255, 256, 300, 1000])
def test_a_tree_is_the_same_in_whatever_pieces_it_grows(log, piece):
    tree, filled = GrowingTree(), []
    for start in range(0, 2000, piece):
        filled += tree.extend(log.leaves[start : start + piece])
        assert tree.root() == root_of(log.leaves[: tree.size])
    assert filled == [log.tiles[0, index] for index in range(tree.size // TILE_WIDTH)]


@pytest.mark.parametrize("size", SIZES)
async def test_a_tree_goes_on_where_it_ended(log, tree, size):
    grown = await tree.grown(size)
    assert (grown.size, grown.root()) == (size, root_of(log.leaves[:size]))
    filled = grown.extend(log.leaves[size : size + 1000])
    assert filled == [log.tiles[tile[:2]] for tile in filled]
    assert grown.root() == root_of(log.leaves[: size + 1000])


@pytest.mark.parametrize("size", SIZES)
async def test_proofs_from_tiles_hold(log, tree, size):
    root = root_of(log.leaves[:size])
    for position in {1, size // 2 or 1, size}:
        proof = await tree.inclusion_proof(position, size)
        assert is_included(log.leaves[position - 1], position - 1, size, proof, root)
    for old_size in {1, size // 3 or 1, size}:
        proof = await tree.consistency_proof(old_size, size)
        assert is_consistent(old_size, root_of(log.leaves[:old_size]), size, root, proof)


async def test_no_call_reads_more_than_the_edge_of_the_tree(log, tree):
    size, levels = 100_000, 2
    for call in (
        tree.root(size),
        tree.grown(size),
        tree.inclusion_proof(1, size),
        tree.inclusion_proof(54_321, size),
        tree.inclusion_proof(size, size),
        tree.consistency_proof(1, size),
        tree.consistency_proof(65_537, size),
        tree.consistency_proof(99_999, size),
    ):
        log.forget()
        await call
        assert log.records_read < TILE_WIDTH
        assert log.tiles_read < TILE_WIDTH * levels


async def test_without_tiles_the_whole_log_is_read():
    """The control of the count above: it does see a scan."""
    log = CountingLog(2000, tiled=0)
    assert await LogTree(log).root(2000) == root_of(log.leaves)
    assert log.records_read == 2000


@pytest.mark.parametrize("tiled", [0, 300, 66_000])
async def test_tiles_that_are_not_written_yet_are_computed(tiled):
    log = CountingLog(67_000, tiled=tiled)
    assert await LogTree(log).root(67_000) == root_of(log.leaves)


async def test_the_tree_of_an_empty_log_has_a_root():
    assert await LogTree(CountingLog(0)).root(0) == root_of([])
    assert (await LogTree(CountingLog(0)).grown(0)).size == 0


async def test_a_size_beyond_the_log_is_refused(tree):
    with pytest.raises(CursorAheadError, match="ends at 100000, before size 100001"):
        await tree.root(100_001)
    with pytest.raises(ValueError, match="has no leaf"):
        await tree.inclusion_proof(0, 10)


async def test_a_tile_of_another_length_is_refused():
    log = CountingLog(600)
    log.tiles[0, 1] = Tile(0, 1, bytes(TILE_BYTES - 1))
    with pytest.raises(CorruptLogError, match="does not hold 256 hashes"):
        await LogTree(log).root(600)
