"""Tampering with a log is found: in memory at many positions, and on real files through the command."""

import asyncio
import contextlib
import hashlib
import shutil
import sqlite3

import pytest

from podium.v1 import events_pb2, value_pb2
from service.admission.token_keys import load_or_make_secret
from service.cli import main
from store.checkpoint_copies import CheckpointFile
from store.checkpointer import Checkpointer
from store.checkpoints import Signer, read_checkpoint
from store.contract import SHARD, Append, NewEvent, StreamAppend
from store.merkle import leaf_hash
from store.migrate import migrate
from store.records import decode_record, encode_envelope
from store.sqlite import sqlite_log
from store.tiles import GrowingTree
from tests.contract.events import TENANT, FakeClock, append_to
from tests.faults import tampering

LARGE = b'"' + b"x" * 100_000 + b'"'


def test_tampering_at_many_positions_is_found():
    cases, violations, control_found = tampering.run(cases_scale=0.005, seed=7)
    assert cases >= 400
    assert violations == 0
    assert control_found


def test_the_check_can_fail():
    """The control of the row: with nothing to compare with, the same cases are not found."""
    log = tampering.Log(seed=7, events=600)
    tried, missed = tampering.missed_without_outside(log, seed=7)
    assert missed == tried == 4 * tampering.CONTROLS


# Real files, and the real command.


class OutsideFile(CheckpointFile):
    """The file of the service, which also tells the test what it was given."""

    def __init__(self, path):
        super().__init__(path)
        self.kept = asyncio.Queue()

    async def keep(self, note):
        await super().keep(note)
        self.kept.put_nowait(read_checkpoint(note).size)

    async def covers(self, size):
        async with asyncio.timeout(20):
            while await self.kept.get() < size:
                pass


async def grow(folder):
    migrate(f"sqlite:///{folder / 'podium.db'}")
    log = sqlite_log(folder / "podium.db", clock=FakeClock())
    signer = Signer("podium", load_or_make_secret(folder / "checkpoint.key", lambda count: bytes(range(count))))
    await log.open()
    outside = OutsideFile(folder / "outside.txt")
    checkpointer = Checkpointer(log, signer, [outside], every_events=100, interval_s=0.005)
    following = asyncio.create_task(checkpointer.run())
    for round_ in range(6):
        await log.append(append_to("wf_a", 50, at=50 * round_))
        await log.append(append_to("wf_b", 60, at=60 * round_, tenant="globex"))
        await outside.covers(log.head)
    digest = await log.write_payload(TENANT, LARGE)
    output = value_pb2.Value(payload=value_pb2.PayloadReference(digest=digest, size_bytes=len(LARGE)))
    envelope = encode_envelope(shard=SHARD, tenant=TENANT, stream_id="wf_c")
    succeeded = NewEvent(events_pb2.StepSucceeded(step_id="step_1", output=output), envelope)
    await log.append(Append([StreamAppend(TENANT, "wf_c", 0, [succeeded])]))
    following.cancel()
    await asyncio.wait([following])
    await checkpointer.finish()
    await log.close()


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The folder of a log of 661 events, its key and the file of its checkpoints."""
    folder = tmp_path_factory.mktemp("honest")
    asyncio.run(grow(folder))
    return folder


@pytest.fixture
def folder(honest, tmp_path):
    return shutil.copytree(honest, tmp_path / "copy")


@pytest.fixture
def verify(folder, capsys):
    """What `podium log verify` says about the copy, and its exit code."""

    def run(*words, outside=True):
        words = [*(("--checkpoints", str(folder / "outside.txt")) if outside else ()), *words]
        with pytest.raises(SystemExit) as exited:
            main.run(["log", "verify", "--database", str(folder / "podium.db"), "--state-dir", str(folder), *words])
        said = capsys.readouterr()
        return said.out + said.err, exited.value.code

    return run


@contextlib.contextmanager
def database(folder):
    """The file, open for someone who has write access to it."""
    with contextlib.closing(sqlite3.connect(folder / "podium.db")) as file, file:
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f'DROP TRIGGER "{name}"')
        yield file


def change(folder, *statements):
    with database(folder) as file:
        for statement in statements:
            assert file.execute(statement).rowcount != 0, statement


def test_an_honest_log_is_clean(verify):
    said, code = verify()
    assert code == 0, said
    assert "661 events, 3 streams, 2 tenants, 1 payload, 2 tiles" in said
    assert verify(outside=False)[1] == 0


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["DELETE FROM events WHERE position = 300"], "POSITION_MISSING: position 300 is missing"),
        (
            ["UPDATE events SET position = -1 WHERE position = 5", "UPDATE events SET position = 5 WHERE position = 6"],
            "RECORD_CONTRADICTS_COLUMNS: the record at position 5",
        ),
        (
            ["UPDATE events SET recorded_at_us = recorded_at_us + 1 WHERE position = 9"],
            "RECORD_CONTRADICTS_COLUMNS: the record at position 9",
        ),
        (["UPDATE events SET record = 'text' WHERE position = 9"], "position 9 of shard 0: 4 bytes are no record"),
        (["UPDATE events SET type = 77 WHERE position = 9"], "RECORD_CONTRADICTS_COLUMNS: the record at position 9"),
        (["DELETE FROM events WHERE position > 640"], "the log ends at position 640, and its head says 661"),
        (["UPDATE shards SET head_position = 640"], "LOG_TRUNCATED: the log ends at position 640, and a stored"),
        (["UPDATE tenants SET sequence = 1 WHERE name = 'globex'"], "TENANT_SEQUENCE: tenant globex has 360 events"),
        (["UPDATE streams SET stream_id = 'wf_z' WHERE stream_id = 'wf_b'"], "RECORD_CONTRADICTS_COLUMNS"),
        (["UPDATE payloads SET data = CAST('no' AS BLOB)"], "PAYLOAD: the payload"),
        (["UPDATE payloads SET data = 'text'"], "is no longer bytes"),
        (["DELETE FROM payloads"], "is missing"),
        (["DELETE FROM tiles WHERE tile_index = 1"], "TILE_MISSING: tile 1 of level 0"),
        (["UPDATE tiles SET hashes = zeroblob(8192) WHERE tile_index = 1"], "TILE_DIFFERS: the record at position 257"),
        (["UPDATE tiles SET hashes = zeroblob(32) WHERE tile_index = 1"], "TILE_DIFFERS: tile 1 of level 0"),
        (["UPDATE checkpoints SET root = zeroblob(32)"], "SIGNATURE: the stored checkpoint of size"),
        (["UPDATE checkpoints SET note = replace(note, 'podium', 'other')"], "SIGNATURE: the stored checkpoint"),
        (["UPDATE checkpoints SET note = 'gone'"], "SIGNATURE: the stored checkpoint"),
    ],
)
def test_a_change_of_a_file_is_told_with_its_place(folder, verify, statements, told):
    change(folder, *statements)
    said, code = verify()
    assert code == 1
    assert told in said


def test_a_flipped_bit_of_a_record_is_told_with_its_position(folder, verify):
    with database(folder) as file:
        (record,) = file.execute("SELECT record FROM events WHERE position = 123").fetchone()
        flipped = record[:-1] + bytes([record[-1] ^ 1])
        assert decode_record(flipped) != decode_record(record)
        file.execute("UPDATE events SET record = ? WHERE position = 123", (flipped,))
    said, code = verify()
    assert code == 1
    assert "TILE_DIFFERS: the record at position 123 is not the one that its tile has hashed" in said


def test_a_payload_that_was_exchanged_with_its_digest_is_found(folder, verify):
    with database(folder) as file:
        digest = hashlib.sha256(b"other").digest()
        file.execute("UPDATE payloads SET digest = ?, data = ?", (digest, b"other"))
    said, code = verify()
    assert code == 1
    assert "position 661 of stream wf_c is missing" in said


TRUNCATE = (
    "DELETE FROM events WHERE position > 600",
    "UPDATE shards SET head_position = 600",
    "UPDATE tenants SET sequence = (SELECT count(*) FROM events WHERE events.tenant_key = tenants.tenant_key)",
    "DELETE FROM checkpoints WHERE size > 600",
)


def rewrite(folder):
    """Another event at position 123, and everything in the database made to fit."""
    tree = GrowingTree()
    with database(folder) as file:
        (record,) = file.execute("SELECT record FROM events WHERE position = 123").fetchone()
        file.execute("UPDATE events SET record = ? WHERE position = 123", (record[:-1] + bytes([record[-1] ^ 1]),))
        for (record,) in file.execute("SELECT record FROM events ORDER BY position").fetchall():
            for tile in tree.extend([leaf_hash(record)]):
                file.execute(
                    "UPDATE tiles SET hashes = :hashes WHERE level = :level AND tile_index = :tile_index",
                    tile._asdict(),
                )
        file.execute("DELETE FROM checkpoints WHERE size >= 123")


def test_a_tail_that_was_cut_off_cleanly_is_found_by_the_outside_checkpoints_alone(folder, verify):
    change(folder, *TRUNCATE)
    said, code = verify()
    assert code == 1
    assert "LOG_TRUNCATED: the log ends at position 600, and the outside checkpoint covers 661" in said
    assert verify(outside=False)[1] == 0, "the control: this is why there has to be a copy outside"


def test_a_history_that_was_rewritten_cleanly_is_found_by_the_outside_checkpoints_alone(folder, verify):
    rewrite(folder)
    said, code = verify()
    assert code == 1
    assert "ROOT_DIFFERS: the outside checkpoint of the first" in said
    assert verify(outside=False)[1] == 0, "the control: this is why there has to be a copy outside"


def test_a_checkpoint_of_a_forger_s_own_is_found(folder, verify):
    forged = Signer("podium", bytes(32)).sign(3, leaf_hash(b""))
    with (folder / "outside.txt").open("a") as file:
        file.write(forged.note)
    said, code = verify()
    assert code == 1
    assert "SIGNATURE: the outside checkpoint of size 3: it is signed by podium+" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--key", "podium"), "'podium' is no verifier key"),
        (("--database", "nowhere.db"), "there is no database at nowhere.db"),
        (("--checkpoints", "nowhere.txt"), "--checkpoints nowhere.txt cannot be read"),
        (("--state-dir", "nowhere"), "there are checkpoints, and no key to verify them with"),
    ],
)
def test_what_cannot_be_verified_is_bad_input(verify, words, told):
    said, code = verify(*words)
    assert code == 2
    assert told in said


def test_the_published_key_is_enough(folder, verify, capsys):
    with pytest.raises(SystemExit):
        main.run(["log", "key", "--state-dir", str(folder)])
    key = capsys.readouterr().out.strip()
    (folder / "checkpoint.key").unlink()
    assert verify("--key", key)[1] == 0
