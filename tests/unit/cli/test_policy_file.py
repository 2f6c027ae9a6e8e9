"""A policy's file: what it means, that it can be written back, and that every mistake is named with its field."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.v1 import definition_pb2 as d
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
breakers:
  - {id: vendors, tools: ["vendor_*"], failure_threshold: 5, recovery_timeout: 60s, success_threshold: 2, timeout: 1.5s}
  - id: rest
    mode: metrics_only
    when_open: wait
    window: {kind: time, size: 60, minimum_calls: 20, failure_rate: 40.5, slow_call_rate: 80, slow_call: 5s}
    half_open_permits: 10
    half_open_max: 2m
    recovery_multiplier: 1.5
    recovery_max: 10m
    record: [TIMEOUT, UNAVAILABLE]
    ignore: [BAD_INPUT]
  - {id: defaults, window: {}}
caches:
  - {id: quotes, tools: ["quote*"], ttl: 1m, stale: 1h, shared: true}
  - {id: never, disabled: true}
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
    assert list(policy.caches) == [
        pb.CacheRule(id="quotes", tools=["quote*"], caching=d.Caching(ttl_ms=60_000, stale_ms=3_600_000, shared=True)),
        pb.CacheRule(id="never", disabled=True),
    ]
    assert list(policy.patterns) == [
        pb.ContentPattern(id="api-key", expression="sk-[a-z]+", refuse_input=True, redact_output=True)
    ]


def test_every_field_of_a_breaker_reaches_the_policy():
    vendors, rest, defaults = read(EVERYTHING).policy.breakers
    assert vendors == pb.BreakerRule(
        id="vendors",
        tools=["vendor_*"],
        failure_threshold=5,
        recovery_timeout_ms=60_000,
        success_threshold=2,
        timeout_ms=1_500,
    )
    assert rest == pb.BreakerRule(
        id="rest",
        mode=pb.BREAKER_MODE_METRICS_ONLY,
        when_open=pb.WHEN_OPEN_WAIT,
        window=pb.BreakerWindow(
            kind=pb.WINDOW_KIND_TIME,
            size=60,
            minimum_calls=20,
            failure_rate=40.5,
            slow_call_rate=80,
            slow_call_ms=5_000,
        ),
        half_open_permits=10,
        half_open_max_ms=120_000,
        recovery_multiplier=1.5,
        recovery_max_ms=600_000,
        record=["TIMEOUT", "UNAVAILABLE"],
        ignore=["BAD_INPUT"],
    )
    assert defaults.HasField("window")


@pytest.mark.parametrize(
    ("breaker", "field"),
    [
        ("recovery_multiplier: 0.5", "breakers[0].recovery_multiplier"),
        ("recovery_multiplier: .nan", "breakers[0].recovery_multiplier"),
        ("recovery_timeout: 2m, recovery_max: 1m", "breakers[0].recovery_max"),
        ("recovery_timeout: 8d", "breakers[0].recovery_timeout"),
        ("failure_threshold: 20000", "breakers[0].failure_threshold"),
        ("window: {size: 5, minimum_calls: 6}", "breakers[0].window.minimum_calls"),
        ("window: {kind: time, size: 4000}", "breakers[0].window.size"),
        ("window: {failure_rate: 101}", "breakers[0].window.failure_rate"),
        ("window: {slow_call_rate: -1}", "breakers[0].window.slow_call_rate"),
        ("ignore: ['not a reason']", "breakers[0].ignore[0]"),
        ("record: [TIMEOUT, timeout]", "breakers[0].record[1]"),
        ("tools: ['a b']", "breakers[0].tools[0]"),
    ],
)
def test_what_is_wrong_with_a_breaker_is_told_by_its_field(breaker, field):
    file = read(f"{{name: p, breakers: [{{id: b, {breaker}}}]}}")
    assert field in dict(file.told(problems_of_policy(file.policy)[0]))


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
