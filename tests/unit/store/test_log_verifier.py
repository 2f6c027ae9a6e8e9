"""Reading a whole log to verify it: streaming, beside whoever writes it."""

import asyncio
import sqlite3

import pytest

from podium.v1 import events_pb2
from store import log_verification, log_verifier
from store.checkpointer import Checkpointer
from store.checkpoints import Signer
from store.contract import SHARD, CorruptLogError, StoreError
from store.log_verifier import CheckpointsUnreadableError, LogVerifier
from store.records import encode_envelope, encode_record, type_number
from store.sqlite_reader import SqliteReader
from tests.contract.events import TENANT, append_to

SIGNER = Signer("a-test", bytes(range(32)))
WAIT_S = 30


@pytest.fixture
async def signing(log):
    """The log with a checkpointer at work on it."""
    checkpointer = Checkpointer(log, SIGNER, [], every_events=50, interval_s=0.005)
    following = asyncio.create_task(checkpointer.run())
    yield log
    following.cancel()
    await asyncio.wait([following])


@pytest.fixture
async def reader(log, database):
    async with SqliteReader(database) as reader:
        yield reader


async def test_how_far_everything_goes_is_read_at_once(log, reader):
    assert await reader.read_extent() == (0, 1, 0, 0, 0, {})
    await log.append(append_to("a", 300))
    await log.append(append_to("b", 40, tenant="globex"))
    await log.write_tree([], SIGNER.sign(300, bytes(32)))
    assert await reader.read_extent() == (340, 1, 340, 0, 300, {TENANT: 300, "globex": 40})


async def test_a_stream_s_version_at_a_position_is_read(log, reader):
    await log.append(append_to("a", 3))
    await log.append(append_to("b", 2))
    await log.append(append_to("a", 1, at=3))
    assert [await reader.version_before(TENANT, "a", position) for position in (1, 2, 4, 6, 7)] == [0, 1, 3, 3, 4]
    assert await reader.version_before("globex", "a", 7) == 0


async def test_a_log_that_is_being_written_is_clean_up_to_where_it_was(signing, reader, monkeypatch):
    monkeypatch.setattr(log_verifier, "_BATCH_EVENTS", 64)
    await signing.append(append_to("a", 700))
    versions = 0

    async def write():
        nonlocal versions
        while True:
            await signing.append(append_to("b", 7, at=versions))
            versions += 7

    writing = asyncio.create_task(write())
    progress = []
    tiles = rounds = 0
    async with asyncio.timeout(WAIT_S):
        # Until the first tiles have been written, and some were compared while others were.
        while tiles < 2 or rounds < 3:
            verified = await LogVerifier(reader, [SIGNER.verifier], lambda *told: progress.append(told)).verify()
            assert verified.is_clean, verified.findings
            assert verified.events == verified.head >= 700
            assert progress[-1] == (verified.head, verified.head)
            tiles, rounds = verified.tiles, rounds + 1
    writing.cancel()
    await asyncio.wait([writing])
    assert verified.head < signing.head or versions > 0


async def test_more_streams_than_memory_holds_are_verified_all_the_same(log, reader, monkeypatch):
    monkeypatch.setattr(log_verification, "STREAMS_MAX", 3)
    monkeypatch.setattr(log_verifier, "_BATCH_EVENTS", 5)
    for version in range(4):
        for stream in range(9):
            await log.append(append_to(f"wf_{stream}", at=version))
    verified = await LogVerifier(reader, []).verify()
    assert verified.is_clean, verified.findings
    assert (verified.events, verified.streams) == (36, 9)


async def test_an_empty_log_is_clean(log, reader):
    verified = await LogVerifier(reader, []).verify()
    assert verified.is_clean
    assert (verified.head, verified.events) == (0, 0)


async def test_checkpoints_of_a_key_that_is_not_known_are_told(signing, reader):
    await signing.append(append_to("a", 60))
    async with asyncio.timeout(20):
        while await signing.last_checkpoint() is None:
            await signing.append(append_to("b", 1, at=signing.head - 60))
    verified = await LogVerifier(reader, [Signer("a-test", bytes(32)).verifier]).verify()
    assert {finding.reason for finding in verified.findings} == {"SIGNATURE"}


@pytest.mark.parametrize("text", ["no note", "a\n1\nroot\n\n\u2014 a AAAAAAAAAAAA\n"])
async def test_what_is_no_checkpoint_is_refused(log, reader, text):
    with pytest.raises(CheckpointsUnreadableError, match="what was kept outside"):
        await LogVerifier(reader, []).verify(text)


async def test_a_database_that_cannot_be_read_any_more_is_a_finding(log, reader, monkeypatch):
    await log.append(append_to("a", 30))
    monkeypatch.setattr(log_verifier, "_BATCH_EVENTS", 10)
    read = reader.log_as_stored

    async def torn(after_position, limit):
        if after_position >= 20:
            raise StoreError("the disk image is malformed")
        return await read(after_position, limit)

    monkeypatch.setattr(reader, "log_as_stored", torn)
    verified = await LogVerifier(reader, []).verify()
    assert [finding.reason for finding in verified.findings] == ["UNREADABLE"]
    assert "behind position 20" in verified.findings[0].message


def change(database, statement, values=()):
    """Change the file as somebody who has taken it, past the triggers."""
    connection = sqlite3.connect(database)
    try:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(statement, values)
        connection.commit()
    finally:
        connection.close()


@pytest.mark.parametrize("position", [0, -1])
async def test_an_event_ahead_of_the_first_is_found_and_not_folded(log, reader, database, position):
    """It is the next of its stream, and the tree begins behind it."""
    await log.append(append_to("a", 3))
    payload = events_pb2.StepSkipped(step_id="forged")
    record = encode_record(
        payload,
        encode_envelope(shard=SHARD, tenant=TENANT, stream_id="a"),
        position=max(position, 0),
        tenant_sequence=4,
        stream_version=4,
        recorded_at_us=1_700_000_000_000_000,
    )
    change(
        database,
        "INSERT INTO events (shard, position, stream_key, stream_version, type, recorded_at_us, tenant_key, record) "
        "SELECT shard, ?, stream_key, 4, ?, recorded_at_us, tenant_key, ? FROM events WHERE position = 3",
        (position, type_number(payload), record),
    )
    verified = await LogVerifier(reader, []).verify()
    assert [finding.reason for finding in verified.findings] == ["OUT_OF_ORDER"]
    assert verified.findings[0].position == position
    with pytest.raises(CorruptLogError):
        await log.read_stream(TENANT, "a")


async def test_a_stream_that_was_moved_to_another_tenant_is_found_and_not_read_there(log, reader, database):
    await log.append(append_to("a", 3))
    await log.append(append_to("b", 2, tenant="globex"))
    change(
        database,
        "UPDATE streams SET tenant_key = (SELECT tenant_key FROM tenants WHERE name = 'globex') WHERE stream_id = 'a'",
    )
    assert await log.read_stream("globex", "a") == []
    verified = await LogVerifier(reader, []).verify()
    assert "POSITION_MISSING" in {finding.reason for finding in verified.findings}


async def test_a_checkpoint_whose_note_is_no_text_is_a_finding(log, reader, database):
    await log.append(append_to("a", 3))
    await log.write_tree([], SIGNER.sign(3, bytes(32)))
    change(database, "UPDATE checkpoints SET note = x'00ff'")
    verified = await LogVerifier(reader, [SIGNER.verifier]).verify()
    assert [finding.reason for finding in verified.findings] == ["SIGNATURE"]
