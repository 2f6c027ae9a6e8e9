"""A workflow from a file against what the live service said of it."""

import hashlib
import json
from types import SimpleNamespace

import pytest

from service.cli.failures import CommandFailed, ExitCode
from service.cli.workflows.replay_comparison import LiveReplay, compare, saved_replay

DIGESTS = tuple(hashlib.sha256(bytes([n])).digest() for n in range(5))
STATE = hashlib.sha256(b"state").digest()
LIVE = LiveReplay("wf_1", 5, STATE, DIGESTS)


def folded(digests=DIGESTS, state=STATE, failed_version=None, problem=""):
    return SimpleNamespace(
        stream_version=len(digests),
        state_digest=state,
        record_digests=list(digests),
        failed_version=failed_version,
        problem=problem,
    )


def saved(**changes):
    content = {
        "workflow_id": "wf_1",
        "stream_version": 5,
        "state_digest": STATE.hex(),
        "record_digests": [digest.hex() for digest in DIGESTS],
    }
    return json.dumps({**content, **changes})


def test_the_same_records_and_the_same_state_match():
    assert compare(LIVE, folded()) is None


@pytest.mark.parametrize("version", range(1, 6))
def test_an_altered_record_is_found_at_its_version(version):
    altered = [*DIGESTS[: version - 1], b"other", *DIGESTS[version:]]
    assert str(compare(LIVE, folded(altered))) == f"differs at version {version}"


@pytest.mark.parametrize("version", range(1, 6))
def test_a_removed_record_is_found_at_its_version(version):
    left = [*DIGESTS[: version - 1], *DIGESTS[version:]]
    assert compare(LIVE, folded(left)).version == version


def test_a_workflow_that_is_not_there_differs_from_its_first_version():
    assert compare(LIVE, folded(())).version == 1


def test_a_surplus_record_is_found():
    difference = compare(LIVE, folded((*DIGESTS, b"surplus")))
    assert (difference.version, difference.problem) == (6, "the live service had no such record")


def test_what_does_not_fold_is_a_difference_even_when_the_records_are_the_same():
    difference = compare(LIVE, folded(state=b"", failed_version=3, problem="the record is no event"))
    assert (difference.version, difference.problem) == (3, "the record is no event")


def test_of_two_differences_the_first_is_told():
    altered = [*DIGESTS[:1], b"other", *DIGESTS[2:]]
    assert compare(LIVE, folded(altered, failed_version=4)).version == 2
    assert compare(LIVE, folded(altered, failed_version=1)).version == 1


def test_another_state_of_the_same_records_differs_at_the_end():
    assert compare(LIVE, folded(state=b"other")).version == 5


def test_what_was_saved_is_read_again():
    assert saved_replay(saved(), "live.json") == LIVE


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "{}",
        saved(state_digest="abc"),
        saved(record_digests=[7]),
        saved(stream_version=4),
        saved(stream_version="many"),
    ],
)
def test_another_file_is_refused(text):
    with pytest.raises(CommandFailed) as caught:
        saved_replay(text, "live.json")
    assert caught.value.code == ExitCode.BAD_INPUT
    assert "live.json" in caught.value.message
