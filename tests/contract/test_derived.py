"""What the store promises about what is derived from the log: snapshots, tiles and checkpoints."""

import pytest

from store.contract import SignedCheckpoint, Snapshot, StreamMissingError, Tile
from tests.contract.events import TENANT, append_to


def snapshot(stream_id, version, *, schema=b"fold", data=b"state"):
    return Snapshot(TENANT, stream_id, version, schema, data)


async def test_the_newest_snapshot_of_a_stream_is_kept(store):
    await store.append(append_to("a", 5))
    assert await store.read_snapshot(TENANT, "a") is None
    for version in (2, 4, 3):
        await store.write_snapshot(snapshot("a", version, data=b"at %d" % version))
    assert await store.read_snapshot(TENANT, "a") == snapshot("a", 4, data=b"at 4")
    await store.write_snapshot(snapshot("a", 4, schema=b"another fold"))
    assert (await store.read_snapshot(TENANT, "a")).state_schema == b"another fold"


async def test_a_snapshot_of_no_stream_is_refused(store):
    with pytest.raises(StreamMissingError):
        await store.write_snapshot(snapshot("nowhere", 1))
    assert await store.read_snapshot(TENANT, "nowhere") is None


async def test_tiles_are_read_by_level_and_index(store):
    tiles = [Tile(level, index, bytes([level, index]) * 16) for level in (0, 1) for index in range(5)]
    await store.write_tree(tiles)
    assert await store.read_tiles(0, 1, 3) == tiles[1:4]
    assert await store.read_tiles(1, 3, 10) == tiles[8:]
    assert await store.read_tiles(2, 0, 10) == []


async def test_what_the_tree_holds_is_never_overwritten(store):
    await store.write_tree([Tile(0, 0, b"first")], SignedCheckpoint(3, b"root", "note"))
    await store.write_tree([Tile(0, 0, b"second")], SignedCheckpoint(3, b"another", "another"))
    assert await store.read_tiles(0, 0, 1) == [Tile(0, 0, b"first")]
    assert await store.last_checkpoint() == SignedCheckpoint(3, b"root", "note")


async def test_checkpoints_are_read_in_order_of_size(store):
    assert await store.last_checkpoint() is None
    kept = [SignedCheckpoint(size, b"%d" % size, f"note {size}") for size in (1, 20, 300)]
    for checkpoint in reversed(kept):
        await store.write_tree([], checkpoint)
    assert await store.read_checkpoints() == kept
    assert await store.read_checkpoints(1, 1) == kept[1:2]
    assert await store.last_checkpoint() == kept[2]
