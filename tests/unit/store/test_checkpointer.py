"""The checkpointer: what it signs, where it goes on, and what it refuses to sign."""

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import sys

import pytest

from store.checkpoint_copies import CheckpointCommand, CheckpointFile, CopyFailed
from store.checkpointer import Checkpointer
from store.checkpoints import Signer, open_checkpoint, read_checkpoint, split_notes
from store.merkle import leaf_hash, root_of
from store.sqlite import sqlite_log
from store.tiles import TILE_WIDTH
from tests.contract.events import append_to

SIGNER = Signer("a-test", bytes(range(32)))
LONG_S = 3600.0


class KeptNotes:
    """A place outside of the database; it can be told to fail."""

    def __init__(self, *notes):
        self.notes = list(notes)
        self.fails = 0
        self.attempts = asyncio.Queue()

    async def keep(self, note):
        if self.fails:
            self.fails -= 1
            self.attempts.put_nowait(None)
            raise CopyFailed("the place is full")
        self.notes.append(note)
        self.attempts.put_nowait(read_checkpoint(note))

    async def last(self):
        return self.notes[-1] if self.notes else None

    async def covers(self, size):
        """Waits for a checkpoint over as many events."""
        async with asyncio.timeout(20):
            while (kept := await self.attempts.get()) is None or kept.size < size:
                pass
        return kept


@contextlib.asynccontextmanager
async def at_work(log, *copies, signer=SIGNER, every_events=1, interval_s=LONG_S):
    checkpointer = Checkpointer(log, signer, copies, every_events=every_events, interval_s=interval_s)
    task = asyncio.create_task(checkpointer.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
    await checkpointer.finish()


async def root_by_hand(log, size):
    return root_of([leaf_hash(event.record) for event in await log.read_all(0, size)])


async def test_what_commits_is_signed_and_tiled(log):
    outside = KeptNotes()
    async with at_work(log, outside, every_events=100):
        await log.append(append_to("a", 600))
        kept = await outside.covers(600)
    assert kept.root == await root_by_hand(log, 600)
    assert (await log.last_checkpoint()).note == outside.notes[-1]
    tiles = await log.read_tiles(0, 0, 10)
    leaves = [leaf_hash(event.record) for event in await log.read_all(0, 512)]
    assert b"".join(tile.hashes for tile in tiles) == b"".join(leaves)


async def test_a_little_growth_is_signed_after_a_while(log):
    outside = KeptNotes()
    async with at_work(log, outside, every_events=1000, interval_s=0.01):
        await log.append(append_to("a", 3))
        assert (await outside.covers(3)).size == 3


async def test_the_last_events_are_signed_when_it_ends(log):
    outside = KeptNotes()
    async with at_work(log, outside):
        await log.append(append_to("a", 3))
        await outside.covers(3)
    async with at_work(log, outside, every_events=1000) as task:
        await log.append(append_to("b", 4))
        # Whether it has looked at them yet or not, they are signed.
        await asyncio.wait([task], timeout=0.05)
    assert read_checkpoint(outside.notes[-1]).size == 7


async def test_a_log_that_does_not_grow_is_not_signed_again(log):
    outside = KeptNotes()
    async with at_work(log, outside):
        await log.append(append_to("a", 3))
        await outside.covers(3)
    async with at_work(log, outside, interval_s=0.01) as task:
        await asyncio.wait([task], timeout=0.1)
    assert [read_checkpoint(note).size for note in outside.notes] == [3]


async def test_after_a_restart_it_goes_on_from_the_last_checkpoint(database, clock):
    outside = KeptNotes()
    version = 0
    for grown in (300, 200, 1000):
        log = sqlite_log(database, clock=clock)
        await log.open()
        async with at_work(log, outside):
            await log.append(append_to("a", grown, at=version))
            version += grown
            assert (await outside.covers(version)).root == await root_by_hand(log, version)
        assert len(await log.read_tiles(0, 0, 100)) == version // TILE_WIDTH
        await log.close()


async def test_a_copy_that_failed_is_made_with_the_next_one(log, caplog):
    outside, healthy = KeptNotes(), KeptNotes()
    outside.fails = 1
    async with at_work(log, outside, healthy, interval_s=0.01):
        await log.append(append_to("a", 3))
        await healthy.covers(3)
        await outside.covers(3)
    assert "the place is full; it is tried again" in caplog.text
    assert outside.notes == healthy.notes


async def test_a_copy_that_a_crash_left_behind_is_made_at_the_next_start(log):
    outside = KeptNotes()
    async with at_work(log, outside):
        await log.append(append_to("a", 3))
        await outside.covers(3)
    behind = KeptNotes()
    async with at_work(log, outside, behind, interval_s=0.01):
        await behind.covers(3)
    assert behind.notes == outside.notes == [(await log.last_checkpoint()).note]


# What it never does: sign another history than the one it has signed before.


@pytest.fixture
async def signed(database, clock):
    """A database with 600 events that are signed for, and its outside copy."""
    outside = KeptNotes()
    log = sqlite_log(database, clock=clock)
    await log.open()
    async with at_work(log, outside):
        await log.append(append_to("a", 600))
        await outside.covers(600)
    await log.close()
    return database, outside


def rewritten(database, *statements):
    """Changes the file as someone could who has write access to it."""
    with contextlib.closing(sqlite3.connect(database)) as file, file:
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            file.execute(statement)


TRUNCATED = ("DELETE FROM events WHERE position > 550", "UPDATE shards SET head_position = 550")
FLIPPED = (
    "UPDATE events SET record = CAST(substr(record, 1, length(record) - 1) || 'z' AS BLOB) WHERE position = 590",
)
NO_BLOB = ("UPDATE events SET record = 'text' WHERE position = 590",)
WITHOUT_CHECKPOINTS = ("DELETE FROM checkpoints", "DELETE FROM tiles")
FORGED = ("UPDATE checkpoints SET note = replace(note, '600', '550'), size = 550", *TRUNCATED)


@pytest.mark.parametrize(
    ("statements", "has_copy", "told"),
    [
        (TRUNCATED, False, "the log ends at position 550, and the last checkpoint in the database covers 600"),
        (FLIPPED, False, "the root of the first 600 events is not that of the last checkpoint in the database"),
        (NO_BLOB, False, "position 590 of shard 0: 4 bytes are no record"),
        (FORGED, False, "the last checkpoint in the database is not as it was signed"),
        ((*TRUNCATED, *WITHOUT_CHECKPOINTS), True, "the last checkpoint outside of it covers 600"),
        ((*FLIPPED, *WITHOUT_CHECKPOINTS), True, "the root of the first 600 events is not that of"),
    ],
)
async def test_a_log_that_contradicts_a_checkpoint_is_not_signed(signed, clock, caplog, statements, has_copy, told):
    database, outside = signed
    rewritten(database, *statements)
    log = sqlite_log(database, clock=clock)
    await log.open()
    before = await log.read_checkpoints(), list(outside.notes)
    async with at_work(log, *([outside] if has_copy else ()), interval_s=0.01) as task:
        async with asyncio.timeout(20):
            await task
        head = log.head
        await log.append(append_to("b", 500))
    assert log.head == head + 500, "it serves on"
    assert (await log.read_checkpoints(), outside.notes) == before
    await log.close()
    (critical,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert told in critical.getMessage()
    assert "podium log verify" in critical.getMessage()


async def test_without_a_copy_outside_a_rewritten_log_is_signed(signed, clock, caplog):
    """The control of the test above: this is why there has to be one."""
    database, _ = signed
    rewritten(database, *TRUNCATED, *WITHOUT_CHECKPOINTS)
    log = sqlite_log(database, clock=clock)
    await log.open()
    again = KeptNotes()
    async with at_work(log, again):
        assert (await again.covers(550)).size == 550
    await log.close()
    assert not [record for record in caplog.records if record.levelno == logging.CRITICAL]


async def test_a_new_key_goes_on_and_says_so(signed, clock, caplog):
    database, outside = signed
    log = sqlite_log(database, clock=clock)
    await log.open()
    other = Signer("a-test", bytes(32))
    async with at_work(log, outside, signer=other):
        await log.append(append_to("b", 1))
        await outside.covers(601)
    await log.close()
    assert open_checkpoint(outside.notes[-1], [other.verifier]).size == 601
    assert "no key that is known here" in caplog.text


# The places outside.


async def test_a_file_holds_one_note_after_another(tmp_path):
    file = CheckpointFile(tmp_path / "new" / "checkpoints.txt")
    assert await file.last() is None
    notes = [SIGNER.sign(size, leaf_hash(b"")).note for size in range(1, 40)]
    for note in notes:
        await file.keep(note)
        assert await file.last() == note
    assert split_notes((tmp_path / "new" / "checkpoints.txt").read_text()) == (notes, 0)


async def test_a_note_that_a_crash_cut_off_spoils_no_other(tmp_path):
    path = tmp_path / "checkpoints.txt"
    first, second = (SIGNER.sign(size, leaf_hash(b"")).note for size in (1, 2))
    await CheckpointFile(path).keep(first)
    with path.open("a") as file:
        file.write(second[:20])
    assert await CheckpointFile(path).last() == first
    await CheckpointFile(path).keep(second)
    assert split_notes(path.read_text()) == ([first, second], 1)


async def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CopyFailed, match=f"{tmp_path} cannot be written"):
        await CheckpointFile(tmp_path).keep("note")


async def test_a_command_gets_the_note_on_its_standard_input(tmp_path):
    script = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    note = SIGNER.sign(1, leaf_hash(b"")).note
    await CheckpointCommand([sys.executable, "-c", script, str(tmp_path / "kept; $HOME")]).keep(note)
    assert (tmp_path / "kept; $HOME").read_text() == note


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["/nowhere/at-all"], "/nowhere/at-all cannot be run: No such file"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "ended with exit code 3"),
        ([shutil.which("sleep"), "600"], "took longer than 0.2 s"),
    ],
)
async def test_a_command_that_fails_is_told_and_ended(words, told):
    with pytest.raises(CopyFailed, match=told):
        await CheckpointCommand(words, max_s=0.2 if "600" in words else 20.0).keep("note")


async def test_a_note_that_an_owner_wrote_late_does_not_hide_its_successors(tmp_path):
    signer = Signer("podium", bytes(32))
    file = CheckpointFile(tmp_path / "checkpoints.txt")
    newer, older = signer.sign(50, bytes(32)).note, signer.sign(20, bytes(32)).note
    for note in (newer, older, "no checkpoint\n\n— podium AAAA\n"):
        await file.keep(note)
    assert await file.last() == newer
