"""Conditions of rules: what they read, what fails them, and that a policy whose condition broke fails closed."""

import pytest

from podium.v1 import policy_pb2, value_pb2
from service.domain.permissions import case_of, decide
from service.domain.policy_compiling import compile_policy
from service.domain.policy_rules import facts_of
from service.engine.policy_expressions import PolicyExpressions

CONDITIONS = PolicyExpressions()
ANA = value_pb2.Authority(
    principal=value_pb2.Principal(subject="ana", address="10.0.0.1"),
    roles=["clerk"],
    claims=[value_pb2.Claim(name="team", value_json='["ops"]'), value_pb2.Claim(name="level", value_json="3")],
)
NOON_US = 1_767_268_800_000_000


def with_rules(*rules):
    roles = [policy_pb2.Role(name="clerk", grants=["email_send", "workflows.*"])]
    return compile_policy(policy_pb2.Policy(name="p", roles=roles, rules=rules), 1, CONDITIONS)


def forbid(condition, **fields):
    return policy_pb2.Rule(id="f", effect=policy_pb2.EFFECT_FORBID, condition=condition, **fields)


def rule_of(policy, arguments=None, tool="send"):
    case = case_of(policy, ANA, ["email_send"], tool, is_call=True)
    facts = facts_of(ANA, case.needs, tool=tool, now_us=NOON_US)
    if arguments is not None:
        facts["arguments"] = arguments
    return case.decide(facts).rule


@pytest.mark.parametrize(
    "condition",
    [
        'principal.subject == "ana" && "clerk" in principal.roles',
        '"ops" in claims.team && claims.level >= 3 && !has(claims.other)',
        'arguments.to.all(each, each.endsWith("@example.org"))',
        'tool == "send" && address.startsWith("10.")',
        'time.getHours() == 12 && time == timestamp("2026-01-01T12:00:00Z")',
        'time.getDayOfWeek("Europe/Berlin") == 4',
        'arguments.nested["to"].deep == null',
    ],
)
def test_a_condition_reads_every_fact(condition):
    arguments = {"to": ["a@example.org"], "nested": {"to": {"deep": None}}}
    assert rule_of(with_rules(forbid(condition)), arguments) == "forbid:f"
    assert rule_of(with_rules(forbid(f"!({condition})")), arguments) == "role:clerk"


@pytest.mark.parametrize(
    "condition",
    [
        'arguments.gone == "x"',
        "arguments.amount > 1",
        "claims.gone == 1",
        "arguments.to == 1 / 0",
        "principal[tool] == 1",
    ],
)
def test_an_error_in_a_condition_denies(condition):
    assert rule_of(with_rules(forbid(condition)), {"amount": "much", "to": 1}) == "error:f"


def test_a_fact_that_is_not_known_is_an_error_and_no_fact_of_another_kind():
    assert rule_of(with_rules(forbid("arguments == null"))) == "error:f"
    later = with_rules(forbid('time > timestamp("2026-01-01T00:00:00Z")'))
    assert decide(later, ANA, ["workflows.read"], None).rule == "error:f"
    assert decide(later, ANA, ["workflows.read"], None, now_us=NOON_US).rule == "forbid:f"


@pytest.mark.parametrize("value", ["x" * 70_000, ["y"] * 30_000])
def test_what_is_too_large_to_be_read_denies(value):
    assert rule_of(with_rules(forbid('arguments.a == "z"')), {"a": value}) == "error:f"


def test_only_the_named_part_of_the_arguments_is_read():
    assert rule_of(with_rules(forbid('arguments.a == "z"')), {"a": "y", "b": "x" * 10_000_000}) == "role:clerk"


def test_values_nested_thousands_of_levels_deep_do_not_reach_the_library():
    deep = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert rule_of(with_rules(forbid("arguments.a == 1")), {"a": deep}) == "error:f"


def test_claims_that_are_no_json_are_an_error_where_they_are_read():
    broken = value_pb2.Authority(roles=["clerk"], claims=[value_pb2.Claim(name="a", value_json="{")])
    policy = with_rules(forbid("claims.a == 1"))
    assert decide(policy, broken, ["workflows.read"], None).rule == "error:f"
    assert decide(with_rules(), broken, ["workflows.read"], None).allowed


def test_a_condition_that_does_not_compile_any_more_fails_what_it_has_a_say_in():
    policy = with_rules(forbid("arguments.x =="))
    assert rule_of(policy, {"x": 1}) == "error:f"
    assert decide(policy, ANA, ["workflows.read"], None, now_us=NOON_US).allowed, "it speaks of calls alone"
    assert decide(with_rules(forbid("1 +")), ANA, ["workflows.read"], None).rule == "error:f"


def test_an_effect_that_is_not_known_grants_nothing():
    odd = policy_pb2.Rule(id="odd", effect=0, permissions=["*"])
    assert rule_of(with_rules(odd)) == "forbid:odd"


def test_a_call_that_some_arguments_could_make_might_be_allowed():
    def might(*rules):
        case = case_of(with_rules(*rules), ANA, ["email_send"], "send", is_call=True)
        return case.might_allow(facts_of(ANA, case.needs, tool="send", now_us=NOON_US))

    assert might(forbid("arguments.amount > 1"))
    assert not might(forbid('address == "10.0.0.1"'))
    assert not might(forbid("claims.gone == 1"))
    assert not might(forbid("arguments.amount > 1"), policy_pb2.Rule(id="g", effect=2, permissions=["email_send"]))
