"""The watched file system sees what SQLite does; images of a crash are what a disk may hold and nothing else."""

import random
import sqlite3

import pytest

from tests.faults.crash_images import SECTOR_BYTES, Disk, Recorder
from tests.faults.watched_vfs import FULL, IOERR_FSYNC, Watcher, watched_vfs

SEEDS = 300


def images_of(*changes, files=None):
    """What is left after these changes, by many a power failure."""
    disk = Disk(files or {})
    for change in changes:
        disk.apply(change)
    return [disk.after_power_loss(random.Random(seed)) for seed in range(SEEDS)]


def test_what_was_synced_is_in_every_image():
    assert {image["a"] for image in images_of(("write", "a", 0, b"one"), ("sync", "a"))} == {b"one"}


def test_what_was_not_synced_is_there_or_not_in_any_combination():
    written = [("write", "a", 3, b"two"), ("write", "a", 6, b"three")]
    left = {image["a"] for image in images_of(*written, files={"a": b"one"})}
    assert left >= {b"one", b"onetwo", b"one\0\0\0three", b"onetwothree"}


def test_a_write_may_be_torn_between_sectors_and_only_there():
    old, new = b"o" * 3 * SECTOR_BYTES, b"n" * 3 * SECTOR_BYTES
    left = {image["a"] for image in images_of(("write", "a", 0, new), files={"a": old})}
    assert len(left) > 2
    for data in left:
        sectors = [data[start : start + SECTOR_BYTES] for start in range(0, len(data), SECTOR_BYTES)]
        assert all(len(set(sector)) == 1 for sector in sectors)


def test_truncations_and_new_files_may_be_lost_until_they_are_synced_and_deletions_until_the_folder_is():
    cut = {image["a"] for image in images_of(("truncate", "a", 1), files={"a": b"one"})}
    assert cut == {b"o", b"one"}
    assert {"a" in image for image in images_of(("write", "a", 0, b"one"))} == {True, False}
    assert {"a" in image for image in images_of(("delete", "a", False), files={"a": b"one"})} == {True, False}
    assert {"a" in image for image in images_of(("delete", "a", True), files={"a": b"one"})} == {False}


def test_what_a_failed_sync_was_for_may_be_lost_though_a_later_one_succeeds():
    def left(seed):
        disk = Disk({"a": b"one"}, random.Random(seed))
        for change in [("write", "a", 3, b"two"), ("forget", "a"), ("write", "a", 6, b"three"), ("sync", "a")]:
            disk.apply(change)
        return disk.after_power_loss(random.Random(0))["a"]

    assert {left(seed) for seed in range(SEEDS)} >= {b"one\0\0\0three", b"onetwothree"}


@pytest.fixture(scope="module")
def vfs():
    return watched_vfs()


def commit(path):
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE t AS SELECT 1")
    finally:
        connection.close()


def test_the_changes_that_are_seen_make_the_file_that_is_there(vfs, tmp_path):
    recorder = Recorder()
    with vfs.watching(recorder):
        commit(tmp_path / "watched.db")
    commit(tmp_path / "unwatched.db")
    disk = Disk({})
    for change in recorder.log:
        disk.apply(change)
    left = disk.after_power_loss(random.Random(0))
    # The closing of the last connection has moved everything into the one file and synced it.
    assert left == {str(tmp_path / "watched.db"): (tmp_path / "watched.db").read_bytes()}
    assert {path for _, path, *_ in recorder.log} == {str(tmp_path / f"watched.db{end}") for end in ("", "-wal")} | {
        str(tmp_path / "watched.db-journal")
    }


class Refusing(Watcher):
    def __init__(self, **codes):
        self.codes = codes

    def write(self, path, offset, data):
        return self.codes.get("write", 0)

    def sync(self, path):
        return self.codes.get("sync", 0)


@pytest.mark.parametrize(
    ("codes", "complaint"),
    [({"write": FULL}, "database or disk is full"), ({"sync": IOERR_FSYNC}, "disk I/O error")],
)
def test_a_change_that_is_refused_is_an_error_of_sqlite(vfs, tmp_path, codes, complaint):
    with vfs.watching(Refusing(**codes)), pytest.raises(sqlite3.OperationalError, match=complaint):
        commit(tmp_path / "refused.db")
    commit(tmp_path / "refused.db")
