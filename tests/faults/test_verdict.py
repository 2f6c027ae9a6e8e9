"""What clients wrote down is held against a log: what agrees passes, and each kind of disagreement is found."""

import pytest

from service.domain.canonical import state_digest
from service.domain.rebuild import rebuild
from store.records import decode_record
from tests.faults.history import refute, requests_in
from tests.faults.verdict import Log, history_of, live_states, stale_reads
from tests.simulation.world import lived


@pytest.fixture(scope="module")
def log():
    """The log of a simulated world."""
    return Log(lived(7).database.events, {})


@pytest.fixture(scope="module")
def grown(log):
    """A workflow to which steps were added by a request of their own, and that request's version."""
    for workflow_id in log.workflows():
        for event, _ in log.of_kind("steps_added", workflow_id):
            if event.request_id != log.streams[workflow_id][0].request_id:
                return workflow_id, event.request_id, event.stream_version
    raise AssertionError("this world has no run that grew: take another seed")


def replayed(log, workflow_id, version, **other):
    live = state_digest(rebuild(log.records[workflow_id][:version], decode_record)).hex()
    return {"event": "replayed", "read": "r", "workflow": workflow_id, "version": version, "live": live} | other


def asked_for(request_id, workflow_id):
    about = {"request_id": request_id, "call": "AddStepsRequest"}
    return [{"event": "sent", **about}, {"event": "answered", "workflow": workflow_id, **about}]


def test_every_version_of_a_workflow_is_accepted_in_its_own_state(log, grown):
    workflow_id, _, _ = grown
    versions = range(1, len(log.records[workflow_id]) + 1)
    assert list(live_states(log, [replayed(log, workflow_id, version, matches=True) for version in versions])) == []


def test_a_state_of_another_version_is_found_and_so_is_one_that_the_service_does_not_rebuild(log, grown):
    workflow_id, _, version = grown
    other = replayed(log, workflow_id, version - 1, matches=True) | {"version": version}
    assert list(live_states(log, [other]))
    assert list(live_states(log, [replayed(log, workflow_id, version, matches=False)]))
    beyond = len(log.records[workflow_id]) + 1
    assert list(live_states(log, [replayed(log, workflow_id, beyond, matches=True)]))


def test_a_read_that_does_not_see_what_was_answered_before_is_found(log, grown):
    workflow_id, request_id, version = grown
    started = asked_for(log.streams[workflow_id][0].request_id, workflow_id)
    known = started + asked_for(request_id, workflow_id)
    asked = {"event": "asked", "read": "r"}
    requests = requests_in(log.streams[workflow_id])

    def complaints(seen):
        found = stale_reads(log, [*known, asked, replayed(log, workflow_id, seen, matches=True)])
        # The other requests of this world are not in this ledger.
        return [each for each in found if "nobody asked for it" not in each]

    assert requests.index(request_id) > 0
    assert complaints(version) == []
    assert any("had been acknowledged" in each for each in complaints(version - 1))


def test_a_request_that_was_answered_and_is_not_in_the_log_is_found(log):
    ledger = asked_for("a request that was lost", "wf_lost")
    found = list(refute(history_of(ledger), requests_in(log.events)))
    assert "a request that was lost was acknowledged and is not in the log" in found
