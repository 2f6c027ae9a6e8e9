"""The guards of revocations and of age: a complete record, before any other guard, from memory."""

from dataclasses import replace

from podium.v1 import events_pb2, value_pb2
from service.admission.permission import PermissionGuard
from service.admission.pipeline import Pipeline
from service.admission.revocation import AuthorityAgeGuard, RevocationGuard
from service.admission.verdicts import ALLOWED
from service.domain.permissions import DEFAULT_POLICY
from service.domain.revocations import Revocations
from tests.unit.admission.calls import a_request, an_authority


def revoke(revocations, **credential):
    event = events_pb2.CredentialsRevoked(**credential)
    revocations.add("default", event, revoked_at_us=5, revoked_by=value_pb2.Principal(subject="ana"), position=1)


def pipeline(revocations):
    policy = replace(DEFAULT_POLICY, name="house", revision=3)
    return Pipeline([RevocationGuard(revocations, lambda _: policy), PermissionGuard(lambda _: policy)])


def test_a_call_under_a_revoked_authority_is_denied_with_a_complete_record():
    revocations = Revocations()
    request = a_request(authority=an_authority("admin", token_id="t1", address="10.0.0.1"), attempt=2)
    revoke(revocations, token_id="t1")
    denied = pipeline(revocations).admit(request, 0)
    assert (denied.verdict.guard, denied.verdict.failure.reason) == ("revocation", "CREDENTIAL_REVOKED")
    assert denied.verdict.failure.message == (
        "the token under which the step was submitted has been revoked (rule revoked:token)"
    )
    assert not denied.verdict.failure.retryable
    assert denied.permission_checked == events_pb2.PermissionChecked(
        step_id="look",
        attempt=2,
        tool="search",
        decision=events_pb2.DECISION_DENY,
        required=["network_access"],
        rule="revoked:token",
        policy="house",
        policy_revision=3,
        principal=value_pb2.Principal(subject="alice", token_id="t1", address="10.0.0.1"),
        arguments_digest=request.arguments_digest,
    )


def test_an_authority_that_was_allowed_a_moment_ago_is_denied_once_it_is_revoked():
    """What the guard of permissions remembers of it does not help, and others' memory is left alone."""
    revocations = Revocations()
    guards = pipeline(revocations)
    hit, other = a_request(authority=an_authority("agent")), a_request(authority=an_authority("agent", subject="bob"))
    for request in (hit, other, hit, other):
        assert guards.admit(request, 0).verdict == ALLOWED
    revoke(revocations, subject="alice")
    assert guards.admit(hit, 0).verdict.failure.reason == "CREDENTIAL_REVOKED"
    assert guards.admit(other, 0).verdict == ALLOWED


def test_an_authority_is_denied_once_it_is_older_than_it_may_be_and_without_a_time_at_once():
    guard, granted_at_us = AuthorityAgeGuard(60, lambda _: DEFAULT_POLICY), 1_800_000_000_000_000
    authority = an_authority("admin")
    authority.granted_at_us = granted_at_us
    request = a_request(authority=authority)
    for later_us in (-1, 0, 60_000_000):
        assert guard.check(request, granted_at_us + later_us) == ALLOWED
    denied = guard.check(request, granted_at_us + 60_000_001)
    assert (denied.check.decision, denied.check.rule) == (events_pb2.DECISION_DENY, "authority-expired")
    assert denied.check.arguments_digest == request.arguments_digest
    assert (denied.failure.reason, denied.failure.retryable) == ("AUTHORITY_EXPIRED", False)
    without = a_request(authority=an_authority("admin"))
    assert guard.check(without, granted_at_us).failure.reason == "AUTHORITY_EXPIRED"
