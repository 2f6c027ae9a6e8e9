"""The checks of a history find what they are there to find."""

import pytest

from podium.v1 import events_pb2
from tests.integration.rig.history import check_allowed_before_started, check_versions, concurrency


def event(number, **payload):
    return events_pb2.Event(position=number, stream_version=number, recorded_at_us=number, **payload)


def checked(step_id="a", attempt=1, decision=events_pb2.DECISION_ALLOW):
    return events_pb2.PermissionChecked(
        step_id=step_id,
        attempt=attempt,
        decision=decision,
        rule="role:admin",
        policy="default",
        policy_revision=1,
        principal={"subject": "ana"},
        arguments_digest=bytes(32),
    )


def started(step_id="a", attempt=1):
    return events_pb2.AttemptStarted(step_id=step_id, attempt=attempt)


def test_an_attempt_that_was_allowed_right_before_it_started_passes():
    check_allowed_before_started([event(1, permission_checked=checked()), event(2, attempt_started=started())])


@pytest.mark.parametrize(
    "before",
    [checked("b"), checked(attempt=2), checked(decision=events_pb2.DECISION_DENY), events_pb2.PermissionChecked()],
    ids=["of another step", "of another attempt", "denied", "without a word"],
)
def test_an_attempt_that_was_not_allowed_is_found(before):
    with pytest.raises(AssertionError):
        check_allowed_before_started([event(1, permission_checked=before), event(2, attempt_started=started())])


@pytest.mark.parametrize("versions", [[1, 3], [2, 3], [1, 1], [2, 1]])
def test_a_gap_and_a_repetition_are_found(versions):
    with pytest.raises(AssertionError):
        check_versions([event(number) for number in versions])


def test_what_runs_at_once_is_counted_until_it_ends_however_it_does():
    events = [
        event(1, attempt_started=started("a[0]")),
        event(2, attempt_started=started("a[1]")),
        event(3, attempt_failed={"step_id": "a[0]"}),
        event(4, attempt_started=started("a[0]", 2)),
        event(5, attempt_started=started("b")),
        event(6, step_succeeded={"step_id": "a[1]"}),
    ]
    assert concurrency(events, "a[") == [1, 2, 1, 2, 1]


def test_an_attempt_that_starts_while_its_step_runs_is_found():
    with pytest.raises(AssertionError):
        concurrency([event(1, attempt_started=started()), event(2, attempt_started=started(attempt=2))])
