"""Every decision of the policy is that of a naive evaluator that was written apart from it."""

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from podium.v1 import value_pb2
from service.domain.permissions import PermissionDecision, Policy, decide, narrow
from service.domain.policy_rules import Rule

PERMISSIONS = ("tools.serve", "tools.call", "tools.callers", "email_send")
RESOURCES = ("billing-refund", "billing", "search", "")
ROLES = ("a", "b", "c")

grants = st.builds(
    lambda pattern, glob: pattern if glob is None else f"{pattern}:{glob}",
    st.sampled_from([*PERMISSIONS, "tools.*", "*", "tools", ".*"]),
    st.sampled_from([None, None, "*", "billing-*", "billing", "s?arch", ""]),
)
grant_sets = st.frozensets(grants, max_size=3)
patterns = st.sampled_from([*PERMISSIONS, "tools.*", "*", "tools", ".*"])
forbids = st.builds(
    Rule,
    st.just("f"),
    st.just(False),
    st.frozensets(patterns, min_size=1, max_size=3),
    st.frozensets(st.sampled_from(ROLES), max_size=2),
)
policies = st.builds(
    Policy,
    st.just("p"),
    st.just(1),
    st.dictionaries(st.sampled_from(ROLES), grant_sets),
    st.lists(forbids, max_size=2).map(tuple),
)
authorities = st.builds(
    lambda roles, scopes, limited: value_pb2.Authority(roles=roles, scopes=scopes, limited=limited),
    st.lists(st.sampled_from(ROLES), max_size=3),
    st.lists(grants, max_size=3),
    st.booleans(),
)
search = settings(max_examples=2_000, phases=[Phase.generate], database=None)
questions = st.tuples(
    policies, authorities, st.lists(st.sampled_from(PERMISSIONS), max_size=3), st.sampled_from(RESOURCES)
)


def glob_matches(glob, text):
    """Globbing with * and ?, one character at a time."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(glob_matches(glob[1:], text[cut:]) for cut in range(len(text) + 1))
    return bool(text) and glob[0] in ("?", text[0]) and glob_matches(glob[1:], text[1:])


def gives(grant, permission, resource):
    name, limit = grant.split(":") if ":" in grant else (grant, "*")
    named = name in ("*", permission) or (name[-2:] == ".*" and permission[: len(name) - 1] == name[:-1])
    return named and glob_matches(limit, resource)


def effective(policy, authority, resource):
    """The set of permissions that an authority has for a resource."""
    have = set()
    for permission in PERMISSIONS:
        granted = any(gives(g, permission, resource) for role in authority.roles for g in policy.roles.get(role, ()))
        scoped = not authority.limited or any(gives(g, permission, resource) for g in authority.scopes)
        forbidden = any(
            gives(g, permission, resource)
            for forbid in policy.rules
            for g in forbid.permissions
            if not forbid.roles or set(authority.roles) & forbid.roles
        )
        if granted and scoped and not forbidden:
            have.add(permission)
    return have


def reference(policy, authority, required, resource):
    return set(required) <= effective(policy, authority, resource)


@given(questions)
def test_the_policy_allows_what_the_naive_evaluator_allows(question):
    assert decide(*question).allowed == reference(*question)


@given(questions)
def test_a_decision_names_its_rule_and_what_is_missing(question):
    policy, authority, required, resource = question
    decision = decide(*question)
    have = effective(policy, authority, resource)
    assert not set(decision.missing) & have
    if decision.allowed:
        assert decision.missing == ()
        assert decision.rule.startswith("role:") == bool(required)
        roles = decision.rule.removeprefix("role:").split("+") if required else []
        for permission in required:
            assert any(gives(g, permission, resource) for role in roles for g in policy.roles[role])
    else:
        assert decision.missing
        assert decision.rule == "default-deny" or decision.rule.startswith("forbid:")
        if decision.rule == "default-deny":
            assert set(decision.missing) == set(required) - have


@given(questions)
def test_the_same_question_has_the_same_answer(question):
    assert decide(*question) == decide(*question)


@given(questions, grants)
def test_a_further_grant_never_takes_away(question, grant):
    policy, authority, required, resource = question
    wider = Policy("p", 1, {**policy.roles, "a": policy.roles.get("a", frozenset()) | {grant}}, policy.rules)
    assert decide(*question).allowed <= decide(wider, authority, required, resource).allowed


@given(policies, authorities, st.lists(grants, max_size=3))
def test_a_narrowed_authority_has_no_more_than_it_had_and_no_more_than_was_asked_for(policy, authority, asked):
    narrowed = narrow(authority, asked)
    assert narrowed.limited
    only_asked = value_pb2.Authority(roles=authority.roles, scopes=asked, limited=True)
    for resource in RESOURCES:
        have = effective(policy, narrowed, resource)
        assert have <= effective(policy, authority, resource)
        assert have <= effective(policy, only_asked, resource)


@given(policies, authorities)
def test_an_authority_narrowed_to_everything_is_what_it_was(policy, authority):
    for resource in RESOURCES:
        assert effective(policy, narrow(authority, ["*"]), resource) == effective(policy, authority, resource)


def ignoring_scopes(policy, authority, required, resource):
    return decide(policy, value_pb2.Authority(roles=authority.roles), required, resource)


def ignoring_forbids(policy, authority, required, resource):
    return decide(Policy("p", 1, policy.roles), authority, required, resource)


def any_of_the_required(policy, authority, required, resource):
    return PermissionDecision(
        not required or any(decide(policy, authority, [r], resource).allowed for r in required), ""
    )


def prefixes_without_their_dot(policy, authority, required, resource):
    loose = {role: {g.replace(".*", "*") for g in given} for role, given in policy.roles.items()}
    allowed = all(
        any(glob_matches(g.split(":")[0], r) for role in authority.roles for g in loose.get(role, ())) for r in required
    )
    return PermissionDecision(allowed, "")


@pytest.mark.parametrize("broken", [ignoring_scopes, ignoring_forbids, any_of_the_required, prefixes_without_their_dot])
def test_the_comparison_finds_an_evaluator_that_is_broken(broken):
    find(questions, lambda question: broken(*question).allowed != reference(*question), settings=search)
