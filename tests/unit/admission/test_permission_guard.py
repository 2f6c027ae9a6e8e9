"""The guard of permissions: complete records, and memory that never outlives what it was decided by."""

import pytest

from podium.v1 import events_pb2, value_pb2
from service.admission.permission import PermissionGuard
from service.admission.verdicts import Allowed, Denied
from service.domain.permissions import DEFAULT_POLICY, Policy
from tests.unit.admission.calls import a_request, a_tool, an_authority


class Policies:
    """Policies of tenants that a test changes."""

    def __init__(self, policy=DEFAULT_POLICY):
        self.of = {}
        self.default = policy

    def __call__(self, tenant):
        return self.of.get(tenant, self.default)


def test_an_allowed_call_leaves_a_complete_record():
    request = a_request(authority=an_authority("viewer", "agent", agent="bot", token_id="t1", address="10.0.0.1"))
    verdict = PermissionGuard(Policies()).check(request, 0)
    assert isinstance(verdict, Allowed)
    assert verdict.check == events_pb2.PermissionChecked(
        step_id="look",
        attempt=1,
        tool="search",
        decision=events_pb2.DECISION_ALLOW,
        required=["network_access"],
        rule="role:agent",
        policy="default",
        principal=value_pb2.Principal(subject="alice", agent="bot", token_id="t1", address="10.0.0.1"),
        arguments_digest=request.arguments_digest,
    )


def test_a_denied_call_leaves_a_complete_record_and_says_what_it_needs():
    tool = a_tool("refund", ("read_files", "financial_operations"))
    request = a_request(tool=tool, attempt=3)
    verdict = PermissionGuard(Policies()).check(request, 0)
    assert isinstance(verdict, Denied)
    assert verdict.failure == value_pb2.Failure(
        reason="PERMISSION_DENIED", message="refund needs financial_operations (rule default-deny)", retryable=False
    )
    assert verdict.check == events_pb2.PermissionChecked(
        step_id="look",
        attempt=3,
        tool="refund",
        decision=events_pb2.DECISION_DENY,
        required=["read_files", "financial_operations"],
        missing=["financial_operations"],
        rule="default-deny",
        policy="default",
        principal=value_pb2.Principal(subject="alice"),
        arguments_digest=request.arguments_digest,
    )


def test_a_remembered_decision_keeps_nothing_of_the_call_it_was_made_for():
    guard = PermissionGuard(Policies())
    guard.check(a_request(), 0)
    other = a_request('{"query":"other"}', step_id="next", attempt=2, authority=an_authority("agent", subject="bob"))
    check = guard.check(other, 0).check
    assert (check.step_id, check.attempt, check.principal.subject) == ("next", 2, "bob")
    assert check.arguments_digest == other.arguments_digest


def decided(guard, **changed):
    return isinstance(guard.check(a_request(**changed), 0), Allowed)


@pytest.mark.parametrize(
    "changed",
    [
        {"authority": an_authority("viewer")},
        {"authority": an_authority("agent", scopes=[])},
        {"authority": an_authority("agent", scopes=["read_files"])},
        {"tool": a_tool(permissions=["email_send"]), "tool_version": 2},
        {"tool": a_tool("mail", permissions=["email_send"])},
        {"tenant": "strict"},
    ],
)
def test_memory_does_not_answer_for_another_question(changed):
    policies = Policies()
    policies.of["strict"] = Policy("default", 1, {})
    guard = PermissionGuard(policies)
    assert decided(guard)
    assert not decided(guard, **changed)
    assert decided(guard)


def test_a_policy_with_a_higher_revision_decides_anew():
    policies = Policies()
    guard = PermissionGuard(policies)
    assert decided(guard)
    policies.default = Policy("default", 2, {})
    assert not decided(guard)


def test_the_memory_is_what_answers_a_second_time():
    policies = Policies(Policy("p", 1, {"agent": frozenset({"network_access"})}))
    guard = PermissionGuard(policies)
    assert decided(guard)
    # A policy that changes without raising its revision breaks the rule, which shows that the memory was asked.
    policies.default = Policy("p", 1, {})
    assert decided(guard)


def test_the_memory_is_bounded():
    guard = PermissionGuard(Policies())
    for number in range(25_000):
        guard.check(a_request(tenant=f"t{number}"), 0)
    assert len(guard._remembered) <= 10_000  # noqa: SLF001 - nothing else shows it


def test_without_a_policy_nothing_is_allowed_and_that_is_on_record():
    def broken(tenant):
        raise KeyError(tenant)

    verdict = PermissionGuard(broken).check(a_request(), 0)
    assert isinstance(verdict, Denied)
    assert verdict.check.decision == events_pb2.DECISION_DENY
    assert verdict.check.rule == "error"
    assert verdict.failure.message == "search could not be checked (rule error)"
