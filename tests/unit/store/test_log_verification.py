"""The verification of a whole log: each thing that it looks at, alone, and in bounded memory."""

import pytest

from podium.v1 import events_pb2, value_pb2
from store import log_verification
from store.checkpoints import Checkpoint
from store.contract import Tile
from store.log_verification import Claim, LogVerification
from store.merkle import EMPTY_ROOT, leaf_hash
from store.payload_references import payload_references
from store.tiles import TILE_BYTES, TILE_WIDTH, GrowingTree
from tests.faults.tampering import Log, written


@pytest.fixture(scope="module")
def log():
    return Log(seed=3, events=600)


def reasons(verification):
    return [finding.reason for finding in verification.findings]


def verified(rows):
    verification = LogVerification()
    verification.take(rows)
    return verification


def changed(log, position, **fields):
    """The rows, one of them as if it had been written with other numbers."""
    rows = list(log.rows)
    rows[position - 1] = written(rows[position - 1], **fields)
    return rows


def test_an_honest_log_has_no_findings(log):
    verification = verified(log.rows)
    verification.close(log.extent())
    assert verification.findings == []
    assert (verification.events_count, verification.tenants_count) == (600, 3)
    assert verification.streams_count == len({(row.tenant, row.stream_id) for row in log.rows})
    assert verification.root() == log.checkpoints[-1].root


def test_a_time_that_goes_back_is_found(log):
    rows = changed(log, 300, recorded_at_us=log.rows[0].recorded_at_us)
    assert reasons(verified(rows)) == ["RECORDED_EARLIER"]


def test_a_tenant_s_sequence_with_a_gap_is_found(log):
    event = events_pb2.Event.FromString(log.rows[299].record)
    verification = verified(changed(log, 300, tenant_sequence=event.tenant_sequence + 1))
    assert reasons(verification) == ["TENANT_SEQUENCE", "TENANT_SEQUENCE"], "on the way up, and on the way back"
    assert verification.findings[0].position == 300


def test_a_stream_s_version_with_a_gap_is_found(log):
    row = log.rows[299]
    verification = verified(changed(log, 300, stream_version=row.stream_version + 5))
    assert reasons(verification)[0] == "STREAM_VERSION"
    assert verification.findings[0].stream_id == row.stream_id


def test_a_record_of_another_type_is_found(log):
    event = events_pb2.Event.FromString(log.rows[9].record)
    event.step_denied.step_id = "step_1"
    rows = [*log.rows[:9], log.rows[9]._replace(record=event.SerializeToString())]
    assert reasons(verified(rows)) == ["RECORD_UNREADABLE"]


def test_a_row_that_comes_twice_is_found(log):
    assert reasons(verified([*log.rows[:10], log.rows[4]])) == ["OUT_OF_ORDER"]


def test_rows_that_are_missing_are_told_as_one(log):
    verification = verified([*log.rows[:10], *log.rows[20:]])
    assert verification.findings[0].message == "positions 11 to 20 are missing"
    assert verification.root() is None


def test_a_claim_about_what_is_missing_cannot_be_met(log):
    verification = log.verification(stored=False, outside=True)
    verification.take([*log.rows[:10], *log.rows[20:]])
    assert "cannot be met, because records are missing" in verification.findings[-1].message


def test_an_empty_log_has_the_root_that_the_rfc_says():
    verification = LogVerification()
    verification.expect([Claim(Checkpoint("a-test", 0, EMPTY_ROOT), "the outside checkpoint")])
    assert verification.findings == []
    verification.expect([Claim(Checkpoint("a-test", 0, leaf_hash(b"")), "the outside checkpoint")])
    assert reasons(verification) == ["ROOT_DIFFERS"]


def test_what_is_said_about_the_end_is_compared(log):
    end = log.extent()
    for extent, reason in (
        (end._replace(head=601), "POSITION_MISSING"),
        (end._replace(last_position=601), "HEAD_BEHIND"),
        (end._replace(tile_count=3), "LOG_TRUNCATED"),
        (end._replace(sequences={**end.sequences, "nobody": 1}), "TENANT_SEQUENCE"),
        (end._replace(sequences={}), "TENANT_SEQUENCE"),
    ):
        verification = verified(log.rows)
        verification.close(extent)
        assert set(reasons(verification)) == {reason}


def test_tiles_of_every_level_are_compared():
    filled = GrowingTree().extend([leaf_hash(b"%d" % number) for number in range(TILE_WIDTH**2)])
    stored = {tile[:2]: tile.hashes for tile in filled}
    assert (1, 0) in stored
    verification = LogVerification()
    verification.compare_tiles(filled, stored)
    assert verification.findings == []
    verification.compare_tiles(filled, stored | {(1, 0): bytes(TILE_BYTES)})
    assert [finding.message for finding in verification.findings] == ["tile 0 of level 1 is not over what is below it"]


def test_a_tile_must_be_stored_only_where_a_checkpoint_covers_it(log):
    tiles = [Tile(*name, hashes) for name, hashes in log.tiles.items()]
    for tiled_size, missing in ((0, 0), (255, 0), (256, 1), (511, 1), (512, 2)):
        verification = LogVerification(tiled_size=tiled_size)
        verification.compare_tiles(tiles, {})
        assert reasons(verification) == ["TILE_MISSING"] * missing


def test_findings_beyond_a_bound_are_counted_only(log):
    verification = LogVerification()
    verification.take([row._replace(stream_version=0) for row in log.rows] * 3)
    assert verification.findings_count > log_verification.FINDINGS_MAX == len(verification.findings)


def test_versions_of_more_streams_than_memory_holds_are_learnt_again(log, monkeypatch):
    monkeypatch.setattr(log_verification, "STREAMS_MAX", 5)
    verification = LogVerification()
    asked = 0
    for start in range(0, 600, 20):
        batch = log.rows[start : start + 20]
        for stream, before in verification.unknown_streams(batch).items():
            asked += 1
            of_stream = [row for row in log.rows if row[1:3] == stream and row.position < before]
            verification.learn(stream, len(of_stream))
        verification.take(batch)
    assert asked > 100
    assert verification.findings == []


def test_versions_that_are_forgotten_and_not_learnt_are_findings(log, monkeypatch):
    """The control of the test above: the bound is real."""
    monkeypatch.setattr(log_verification, "STREAMS_MAX", 5)
    verification = LogVerification()
    for start in range(0, 600, 20):
        verification.take(log.rows[start : start + 20])
    assert "STREAM_VERSION" in reasons(verification)


# Which payloads an event names.


def references(payload):
    event = events_pb2.Event()
    getattr(event, events_pb2.Event.DESCRIPTOR.fields_by_name[name_of(payload)].name).CopyFrom(payload)
    return [reference.digest for reference in payload_references(event, event.SerializeToString())]


def name_of(payload):
    fields = events_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields
    return next(field.name for field in fields if field.message_type is payload.DESCRIPTOR)


def reference(letter):
    return value_pb2.PayloadReference(digest=letter * 32, size_bytes=1)


def test_payloads_are_found_wherever_a_value_stands():
    plain = value_pb2.Value(payload=reference(b"a"))
    sealed = value_pb2.Value(sealed=value_pb2.SealedValue(key_id="key", payload=reference(b"b")))
    assert references(events_pb2.WorkflowStarted(input=plain)) == [b"a" * 32]
    assert references(events_pb2.StepSucceeded(output=sealed)) == [b"b" * 32]
    assert references(events_pb2.StepSucceeded(output=value_pb2.Value(json="1"))) == []


def leading_to_references(descriptor, seen=()):
    """Every path of fields to a reference, each message once a path."""
    for field in descriptor.fields:
        kind = field.message_type
        if kind is None or kind.full_name in seen:
            continue
        if kind is value_pb2.PayloadReference.DESCRIPTOR:
            yield (field,)
        else:
            for path in leading_to_references(kind, (*seen, kind.full_name)):
                yield (field, *path)


PATHS = list(leading_to_references(events_pb2.Event.DESCRIPTOR))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(field.name for field in path))
def test_no_place_for_a_payload_is_overlooked(path):
    event = events_pb2.Event()
    message = event
    for field in path:
        part = getattr(message, field.name)
        message = part.add() if field.is_repeated else part
    message.CopyFrom(reference(b"z"))
    assert [found.digest for found in payload_references(event, event.SerializeToString())] == [b"z" * 32]
