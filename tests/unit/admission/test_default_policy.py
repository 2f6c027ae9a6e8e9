"""The policy of a tenant that has none of its own, and the corners of a decision."""

from fnmatch import fnmatchcase

import pytest

from podium.v1 import value_pb2
from service.domain.permissions import (
    API_PERMISSIONS,
    DEFAULT_POLICY,
    OPERATOR_PERMISSIONS,
    TOOL_PERMISSIONS,
    PermissionDecision,
    Policy,
    case_of,
    decide,
)
from service.domain.policy_rules import Rule


def authority(*roles, scopes=None):
    return value_pb2.Authority(roles=roles, scopes=scopes or [], limited=scopes is not None)


def held(role):
    """Of all permissions those that a role has."""
    return {
        p for p in (*TOOL_PERMISSIONS, *API_PERMISSIONS) if decide(DEFAULT_POLICY, authority(role), [p], "").allowed
    }


def test_there_are_the_nine_permissions_for_tools():
    assert len(set(TOOL_PERMISSIONS)) == 9


def test_an_admin_has_everything():
    assert held("admin") == {*TOOL_PERMISSIONS, *API_PERMISSIONS}


def test_an_agent_runs_workflows_and_reads():
    assert held("agent") == {
        "workflows.start", "workflows.read", "workflows.change", "tools.read", "tools.call", "replay",
        "read_files", "network_access", "database_read",
    }  # fmt: skip


def test_an_executor_serves_and_registers_tools_and_nothing_else():
    assert held("executor") == {"tools.serve", "tools.register"}


def test_an_auditor_reads_everything_and_changes_nothing():
    assert held("auditor") == {"workflows.read", "tools.read", "events.read", "audit.read", "replay"}


NOT_A_VIEWERS = {
    "events.read": "the log itself",
    "audit.read": "the log itself",
    "policies.read": "how access is guarded",
    "credentials.read": "how access is guarded",
    "addresses.read": "how access is guarded",
    "keys.read": "how access is guarded",
    "projections.read": "the operator's",
    "tenants.read": "the operator's",
}


def test_a_viewer_reads_all_but_the_log_what_guards_access_and_what_is_the_operators():
    assert held("viewer") == {p for p in API_PERMISSIONS if p.endswith(".read")} - NOT_A_VIEWERS.keys()


def test_what_is_the_operators_is_no_viewers():
    operators = {p for p in API_PERMISSIONS for pattern in OPERATOR_PERMISSIONS if fnmatchcase(p, pattern)}
    assert held("viewer").isdisjoint(operators)


@pytest.mark.parametrize("roles", [(), ("nobody",), ("Admin",), ("*",), ("admin ",)])
def test_an_unknown_role_has_nothing(roles):
    assert decide(DEFAULT_POLICY, authority(*roles), ["tools.read"], "") == PermissionDecision(
        False, "default-deny", ("tools.read",)
    )


def test_the_rule_names_the_first_roles_that_grant_in_the_order_of_the_authority():
    decision = decide(DEFAULT_POLICY, authority("viewer", "auditor", "agent"), ["email_send"], "x")
    assert not decision.allowed
    decision = decide(DEFAULT_POLICY, authority("auditor", "viewer", "agent"), ["tools.read", "read_files"], "x")
    assert decision == PermissionDecision(True, "role:auditor+agent")


def test_what_needs_nothing_is_allowed_to_everyone_and_says_so():
    assert decide(DEFAULT_POLICY, authority(), [], "x") == PermissionDecision(True, "no-permission-required")


def test_missing_lists_everything_that_is_missing_once():
    decision = decide(DEFAULT_POLICY, authority("viewer"), ["email_send", "tools.read", "replay", "email_send"], "x")
    assert decision.missing == ("email_send", "replay")


def test_an_empty_scope_leaves_nothing():
    assert not decide(DEFAULT_POLICY, authority("admin", scopes=[]), ["tools.read"], "").allowed
    assert decide(DEFAULT_POLICY, authority("admin"), ["tools.read"], "").allowed


def test_a_scope_adds_nothing_that_no_role_grants():
    assert not decide(DEFAULT_POLICY, authority("viewer", scopes=["*"]), ["email_send"], "").allowed


def test_a_grant_for_some_tools_is_none_for_others():
    policy = Policy("p", 1, {"r": frozenset({"tools.serve:billing-*"})})
    assert decide(policy, authority("r"), ["tools.serve"], "billing-refund").allowed
    assert not decide(policy, authority("r"), ["tools.serve"], "search").allowed
    assert not decide(policy, authority("r"), ["tools.serve"], "").allowed


def test_while_the_tool_is_not_known_a_grant_for_any_will_do():
    policy = Policy("p", 1, {"r": frozenset({"tools.serve:billing-*"})})
    assert decide(policy, authority("r"), ["tools.serve"], None).allowed
    assert not decide(policy, authority("r"), ["tools.call"], None).allowed


def forbidding(*permissions, **fields):
    """A policy whose role r has everything but what a rule forbids."""
    rule = Rule("f", allows=False, permissions=frozenset(permissions), **fields)
    return Policy("p", 1, {"r": frozenset({"*"})}, (rule,))


def test_a_forbid_overrides_every_grant():
    policy = forbidding("email_send")
    assert decide(policy, authority("r"), ["email_send", "replay"], "x") == PermissionDecision(
        False, "forbid:f", ("email_send",)
    )
    assert decide(policy, authority("r"), ["replay"], "x").allowed


def test_a_forbid_for_a_role_leaves_others_alone():
    policy = forbidding("*", roles=frozenset({"intern"}))
    assert decide(policy, authority("r"), ["replay"], "").allowed
    assert decide(policy, authority("r", "intern"), ["replay"], "").rule == "forbid:f"


def test_a_forbid_without_permissions_closes_even_what_needs_none():
    policy = forbidding(roles=frozenset({"intern"}))
    assert decide(policy, authority("r"), [], "").allowed
    assert decide(policy, authority("intern"), [], "") == PermissionDecision(False, "forbid:f")


def test_a_rule_about_tools_has_no_say_in_methods_of_the_api():
    policy = forbidding("*", tools=("refund",))
    assert decide(policy, authority("r"), ["tools.call"], None).allowed
    assert decide(policy, authority("r"), ["tools.call"], "refund").allowed
    call = case_of(policy, authority("r"), ["email_send"], "refund", is_call=True)
    assert call.settled == PermissionDecision(False, "forbid:f", ("email_send",))
    assert case_of(policy, authority("r"), ["email_send"], "search", is_call=True).settled.allowed


@pytest.mark.parametrize(
    "question",
    [
        (None, authority("admin"), ["replay"], ""),
        (Policy("p", 1, {"admin": 7}), authority("admin"), ["replay"], ""),
        (DEFAULT_POLICY, None, ["replay"], ""),
        (DEFAULT_POLICY, authority("admin"), 7, ""),
        (Policy("p", 1, {"admin": frozenset({"replay:x"})}), authority("admin"), ["replay"], 7),
    ],
)
def test_an_error_denies(question):
    decision = decide(*question)
    assert not decision.allowed
    assert decision.rule == "error"
