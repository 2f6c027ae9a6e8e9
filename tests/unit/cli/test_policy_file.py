"""A policy's file: what it means, that it can be written back, and that every mistake is named with its field."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.v1 import policy_pb2 as pb
from service.cli.failures import CommandFailed, ExitCode
from service.cli.policy.cases import read_cases
from service.cli.policy.durations import duration_text
from service.cli.policy.file import PolicyFile
from service.cli.policy.text import policy_text
from service.domain.policy_compiling import built_in_policy
from service.policy_check import problems_of as problems_of_policy
from service.policy_check import try_cases
from tests.architecture.checkout import ROOT

EVERYTHING = """\
name: payments
changes_need_approval: true
roles:
  admin: {grants: "*"}
  clerk:
    description: Works on refunds.
    grants: [tools.call, "workflows.*"]
    inherits: [admin]
rules:
  - id: small-refunds
    effect: allow
    description: Below ten.
    tools: [refund]
    permissions: [financial_operations]
    roles: [clerk]
    condition: arguments.cents <= 1000
limits:
  - {id: calls, tools: ["*"], roles: [clerk], per: [subject, tool, address], rate: 10/minute, burst: 5,
     weights: {"export-*": 5, "*": 1}}
  - {id: slow, scope: requests, count: 100, period: 90s}
  - {id: odd, scope: attempts, rate: 7 / 1m30s}
  - {id: short, rate: 3/s}
addresses:
  block: [192.0.2.0/24]
  allow: 10.0.0.0/8
  lockout: {failures: 5, within: 15m, block: 1h}
patterns:
  - {id: api-key, expression: "sk-[a-z]+", refuse_input: true, redact_output: true}
bulkheads:
  - {id: narrow, tools: [refund], max_concurrent: 3, max_queued: 10}
  - {id: billing, executors: ["billing-*"], max_concurrent: 8}
tests:
  - name: a small refund
    principal: {subject: ana, on_behalf_of: bob}
    roles: [clerk]
    scopes: []
    claims: {team: [ops], level: 3}
    tool: refund
    permissions: [financial_operations]
    arguments: {cents: 500}
    address: 10.0.0.1
    time: 2026-01-01T13:00:00+01:00
    expect: allow
    rule: rule:small-refunds
"""


def read(text, name="policy.yaml"):
    return PolicyFile(text, name)


def problems_of(text, reading=read):
    with pytest.raises(CommandFailed) as caught:
        reading(text)
    assert caught.value.code == ExitCode.BAD_INPUT
    return dict(caught.value.violations) if caught.value.violations else caught.value.message


def test_every_field_reaches_the_policy():
    policy = read(EVERYTHING).policy
    assert (policy.name, policy.changes_need_approval) == ("payments", True)
    assert list(policy.roles) == [
        pb.Role(name="admin", grants=["*"]),
        pb.Role(
            name="clerk", description="Works on refunds.", grants=["tools.call", "workflows.*"], inherits=["admin"]
        ),
    ]
    [rule] = policy.rules
    assert (rule.id, rule.effect, rule.condition) == ("small-refunds", pb.EFFECT_ALLOW, "arguments.cents <= 1000")
    assert (list(rule.tools), list(rule.permissions)) == (["refund"], ["financial_operations"])
    calls, slow, odd, short = policy.limits
    assert (calls.count, calls.period_ms, calls.burst, list(calls.per)) == (10, 60_000, 5, [1, 2, 3])
    assert [(weight.tools, weight.weight) for weight in calls.weights] == [("export-*", 5), ("*", 1)]
    assert (slow.scope, slow.count, slow.period_ms) == (pb.LIMIT_SCOPE_REQUESTS, 100, 90_000)
    assert (odd.scope, odd.count, odd.period_ms) == (pb.LIMIT_SCOPE_ATTEMPTS, 7, 90_000)
    assert (short.scope, short.count, short.period_ms) == (pb.LIMIT_SCOPE_UNSPECIFIED, 3, 1000)
    assert policy.addresses == pb.AddressRules(
        block=["192.0.2.0/24"],
        allow=["10.0.0.0/8"],
        lockout=pb.Lockout(failures=5, within_ms=900_000, block_ms=3_600_000),
    )
    assert list(policy.bulkheads) == [
        pb.Bulkhead(id="narrow", tools=["refund"], max_concurrent=3, max_queued=10),
        pb.Bulkhead(id="billing", executors=["billing-*"], max_concurrent=8),
    ]
    assert list(policy.patterns) == [
        pb.ContentPattern(id="api-key", expression="sk-[a-z]+", refuse_input=True, redact_output=True)
    ]


def test_every_field_reaches_the_case():
    [case] = read(EVERYTHING).cases()
    principal = case.authority.principal
    assert (principal.subject, principal.on_behalf_of, principal.address) == ("ana", "bob", "10.0.0.1")
    assert (list(case.authority.roles), case.authority.limited) == (["clerk"], True)
    assert {claim.name: claim.value_json for claim in case.authority.claims} == {"team": '["ops"]', "level": "3"}
    assert (case.tool, case.permissions, case.arguments_json) == ("refund", ("financial_operations",), '{"cents":500}')
    assert case.time_us == 1_767_268_800_000_000
    assert (case.expect_allow, case.rule) == (True, "rule:small-refunds")


@pytest.mark.parametrize("policy", [read(EVERYTHING).policy, built_in_policy()])
def test_a_policy_that_is_written_is_read_as_what_it_was(policy):
    assert read(policy_text(policy)).policy == policy


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
lists = st.lists(texts, max_size=3)
policies = st.builds(
    pb.Policy,
    name=texts,
    roles=st.lists(
        st.builds(pb.Role, name=texts, grants=lists, inherits=lists, description=texts),
        max_size=3,
        unique_by=lambda role: role.name,
    ),
    rules=st.lists(
        st.builds(pb.Rule, id=texts, effect=st.sampled_from([1, 2]), tools=lists, condition=texts), max_size=3
    ),
    limits=st.lists(
        st.builds(
            pb.RateLimit,
            id=texts,
            scope=st.sampled_from([0, 1, 2]),
            per=st.lists(st.sampled_from([1, 2, 3]), max_size=3),
            count=st.integers(1, 10**6),
            period_ms=st.integers(1, 10**10),
            burst=st.integers(0, 100),
        ),
        max_size=3,
    ),
)


@given(policies)
def test_any_policy_survives_being_written_and_read(policy):
    assert read(policy_text(policy)).policy == policy


@pytest.mark.parametrize("milliseconds", [1, 999, 1000, 90_000, 3_600_000, 86_400_000, 31 * 86_400_000 + 1])
def test_a_duration_is_written_so_that_it_is_read_as_what_it_was(milliseconds):
    limit = f"{{name: p, limits: [{{id: l, rate: 1/{duration_text(milliseconds)}}}]}}"
    assert read(limit).policy.limits[0].period_ms == milliseconds


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        ("{roles: {}}", "name", "is missing"),
        ("{name: p, rolls: {}}", "rolls", "do you mean roles?"),
        ("{name: p, roles: [a]}", "roles", "must be an object"),
        ("{name: p, roles: {a: {grant: x}}}", "roles.a.grant", "do you mean grants?"),
        ("{name: p, rules: [{id: r, effect: deny}]}", "rules[0].effect", "must be one of allow, forbid"),
        ("{name: p, rules: [{effect: allow}]}", "rules[0].id", "is missing"),
        ("{name: p, limits: [{id: l, rate: 10 a minute}]}", "limits[0].rate", "for example 10/minute"),
        ("{name: p, limits: [{id: l, rate: 10/fortnight}]}", "limits[0].rate", "for example 10/minute"),
        ("{name: p, limits: [{id: l, rate: 1/s, count: 2}]}", "limits[0].rate", "leave one of the two out"),
        ("{name: p, limits: [{id: l, per: [user]}]}", "limits[0].per[0]", "must be one of subject, tool, address"),
        ("{name: p, limits: [{id: l, weights: [a]}]}", "limits[0].weights", "must be an object"),
        ("{name: p, addresses: {lockout: {within: soon}}}", "addresses.lockout.within", "must be a duration"),
        ("{name: p, tests: [{name: t}]}", "tests[0].expect", "is missing"),
    ],
)
def test_a_mistake_is_named_with_its_field(text, field, problem):
    problems = problems_of(text, lambda text: read(text).cases())
    assert problem in problems[field]


@pytest.mark.parametrize("time", ["2026-01-01T12:00:00", "noon"])
def test_a_time_says_its_zone(time):
    text = f"[{{name: t, expect: deny, time: '{time}'}}]"
    assert "with its zone" in problems_of(text, lambda text: read_cases(text, "cases.yaml"))["tests[0].time"]


def test_a_name_that_is_there_twice_is_refused():
    assert "twice" in problems_of("{name: p, roles: {a: {grants: [x]}, a: {grants: [y]}}}")


def test_aliases_that_multiply_are_refused():
    assert "aliases" in problems_of("name: p\nroles: &a {}\ntests: [" + "*a, " * 101 + "*a]")
    assert read("name: &n p\nrules: [{id: *n, effect: allow}]").policy.rules[0].id == "p"


def test_the_example_in_the_documentation_is_a_policy_and_its_case_comes_out():
    [example] = re.findall(r"```yaml\n(name: payments\n.*?)```", (ROOT / "docs/security.md").read_text(), re.DOTALL)
    file = read(example)
    assert problems_of_policy(file.policy) == ([], [])
    assert [outcome.passed for outcome in try_cases(file.policy, file.cases())] == [True]


def test_what_the_service_says_is_told_in_the_words_of_the_file():
    file = read(EVERYTHING)
    told = file.told([("policy.roles[1].name", ""), ("limits[0].period_ms", ""), ("roles[0].grants[0]", "")])
    assert [path for path, _ in told] == ["roles.clerk", "limits[0].period", "roles.admin.grants[0]"]
