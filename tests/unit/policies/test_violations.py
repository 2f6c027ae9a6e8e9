"""What is wrong with a policy is told field by field, and what is right passes."""

import pytest

from podium.v1 import definition_pb2
from podium.v1 import policy_pb2 as pb
from service.domain.policy_compiling import built_in_policy
from service.domain.policy_validation import policy_violations, policy_warnings
from service.engine.policy_expressions import PolicyExpressions

CONDITIONS = PolicyExpressions()
ALLOW, FORBID = pb.EFFECT_ALLOW, pb.EFFECT_FORBID
LOCKOUT = pb.Lockout(failures=5, within_ms=1, block_ms=1)
EVERYWHERE = pb.ContentPattern(id="k", expression="a*", refuse_input=True)
LOOK_AHEAD = pb.ContentPattern(id="k", expression="(?=a)", refuse_input=True)
CACHING = definition_pb2.Caching(ttl_ms=1_000)
MINUTE = {"count": 10, "period_ms": 60_000}


def found(**fields):
    """The fields at fault in a policy."""
    return dict(policy_violations(pb.Policy(**{"name": "p", **fields}), CONDITIONS))


def rule(**fields):
    return pb.Rule(**{"id": "r", "effect": FORBID, **fields})


def role(name="a", **fields):
    return pb.Role(name=name, **fields)


def bulkhead(**fields):
    return pb.Bulkhead(**{"id": "b", "max_concurrent": 1, **fields})


def limit(**fields):
    return pb.RateLimit(**{"id": "l", **MINUTE, **fields})


def test_the_built_in_policy_has_no_violation_and_no_warning():
    assert policy_violations(built_in_policy(), CONDITIONS) == []
    assert policy_warnings(built_in_policy()) == []


RIGHT = [
    {"roles": [role(grants=["*", "workflows.*", "tools.serve:billing-*", "act_on_behalf:a@example.org", "own.thing"])]},
    {"roles": [role(grants=["*:x", "tools.*:x", "tools.read:x", "secrets.use:x", "email_send:x", "own.thing:x"])]},
    {"roles": [role("a", inherits=["b", "c"]), role("b", inherits=["c"]), role("c")]},
    {"roles": [role("team/ops@example.org")]},
    {"rules": [rule(), rule(id="s", effect=ALLOW, permissions=["email_send"], tools=["send_*", "[ab]x"])]},
    {"rules": [rule(condition='has(claims.team) && "ops" in claims.team && arguments.path.startsWith("/srv/")')]},
    {"limits": [limit(per=[pb.LIMIT_KEY_SUBJECT, pb.LIMIT_KEY_TOOL], weights=[pb.Weight(tools="x*", weight=10)])]},
    {"limits": [limit(scope=pb.LIMIT_SCOPE_REQUESTS, per=[pb.LIMIT_KEY_ADDRESS], burst=1)]},
    {"caches": [pb.CacheRule(id="c", caching=CACHING), pb.CacheRule(id="off", tools=["x*"], disabled=True)]},
    {"addresses": pb.AddressRules(block=["192.0.2.9", " 2001:db8::/32"], lockout=LOCKOUT)},
    {"patterns": [pb.ContentPattern(id="k", expression="sk-[a-z]{8,}", redact_output=True)]},
    {"changes_need_approval": True, "roles": [role(grants=["policies.*"])]},
    {"changes_need_approval": True, "roles": [role(grants=["*:*"])]},
]  # fmt: skip


@pytest.mark.parametrize("fields", RIGHT)
def test_what_is_right_passes(fields):
    assert found(**fields) == {}


WRONG = [
    ({"name": " "}, "name", "must be a name"),
    ({"roles": [role(""), role("a")]}, "roles[0].name", "must be of letters"),
    ({"roles": [role("a+b")]}, "roles[0].name", "must be of letters"),
    ({"roles": [role("a"), role("a")]}, "roles[1].name", "a second time"),
    ({"roles": [role(grants=["Tools.read"])]}, "roles[0].grants[0]", "must be a permission"),
    ({"roles": [role(grants=["tools.read:"])]}, "roles[0].grants[0]", "glob of resources"),
    ({"roles": [role(grants=["events.read:wf_1"])]}, "roles[0].grants[0]", "events.read has no resources"),
    ({"roles": [role(grants=["workflows.*:x"])]}, "roles[0].grants[0]", "workflows.* has no resources"),
    ({"roles": [role(grants=["a", "a"])]}, "roles[0].grants", "twice"),
    ({"roles": [role(inherits=["adm"]), role("admin")]}, "roles[0].inherits[0]", "do you mean admin?"),
    ({"roles": [role("a", inherits=["b"]), role("b", inherits=["a"])]}, "roles[0].inherits", "a -> b -> a"),
    ({"roles": [role("a", inherits=["a"])]}, "roles[0].inherits", "a -> a"),
    ({"rules": [rule(id="No")]}, "rules[0].id", "must be of a-z"),
    ({"rules": [rule(), rule()]}, "rules[1].id", "a second time"),
    ({"rules": [rule(effect=0)]}, "rules[0].effect", "allow or forbid"),
    ({"rules": [rule(effect=ALLOW)]}, "rules[0].permissions", "names the permissions"),
    ({"rules": [rule(permissions=["tools.call:pay"])]}, "rules[0].permissions[0]", "name tools in the rule's tools"),
    ({"rules": [rule(tools=["a b"])]}, "rules[0].tools[0]", "fit several"),
    ({"rules": [rule(roles=["?"])]}, "rules[0].roles[0]", "must be of letters"),
    ({"rules": [rule(condition="argument.x == 1")]}, "rules[0].condition", "undeclared reference"),
    ({"rules": [rule(condition="tool + 1 == 2")]}, "rules[0].condition", "no matching overload"),
    ({"rules": [rule(condition="1 + 1")]}, "rules[0].condition", "not bool"),
    ({"rules": [rule(condition='principal.name == "x"')]}, "rules[0].condition", "principal has no name"),
    ({"rules": [rule(condition="steps.a.output == 1")]}, "rules[0].condition", "undeclared reference"),
    ({"rules": [rule(condition="true || " * 600 + "true")]}, "rules[0].condition", "larger than 4096 bytes"),
    ({"rules": [rule(condition="arguments.a.all(x, x.all(y, y))")]}, "rules[0].condition", "inside of another"),
    ({"rules": [rule(description="x" * 1025)]}, "rules[0].description", "longer than"),
    ({"limits": [limit(count=0)]}, "limits[0].count", "at least 1"),
    ({"limits": [limit(period_ms=0)]}, "limits[0].period_ms", "1 millisecond"),
    ({"limits": [limit(), limit()]}, "limits[1].id", "a second time"),
    ({"limits": [limit(per=[0])]}, "limits[0].per[0]", "subject, tool or address"),
    ({"limits": [limit(per=[1, 1])]}, "limits[0].per[1]", "twice"),
    ({"limits": [limit(scope=2, per=[2])]}, "limits[0].per[0]", "a request has no tool"),
    ({"limits": [limit(scope=2, tools=["x"])]}, "limits[0].tools", "a request has no tool"),
    ({"limits": [limit(weights=[pb.Weight(tools="x", weight=11)])]}, "limits[0].weights[0].weight", "never pass"),
    ({"limits": [limit(weights=[pb.Weight(tools="x")])]}, "limits[0].weights[0].weight", "from 1 to 10"),
    ({"caches": [pb.CacheRule(id="c")]}, "caches[0]", "does nothing"),
    ({"caches": [pb.CacheRule(id="c", disabled=True, caching=CACHING)]}, "caches[0].caching", "with disabled"),
    ({"caches": [pb.CacheRule(id="c", caching={})]}, "caches[0].caching.ttl_ms", "1 millisecond"),
    ({"caches": [pb.CacheRule(id="c", caching={"ttl_ms": 2**40})]}, "caches[0].caching.ttl_ms", "30 days"),
    ({"caches": [pb.CacheRule(id="c", tools=["a b"], disabled=True)]}, "caches[0].tools[0]", "fit several"),
    ({"caches": [pb.CacheRule(id="c", disabled=True)] * 101}, "caches", "at most 100"),
    ({"addresses": pb.AddressRules(block=["10.0.0.1/8"])}, "addresses.block[0]", "CIDR"),
    ({"addresses": pb.AddressRules(allow=["localhost"])}, "addresses.allow[0]", "CIDR"),
    ({"addresses": pb.AddressRules(lockout=pb.Lockout(within_ms=1, block_ms=1))}, "addresses.lockout.failures", "1"),
    ({"patterns": [pb.ContentPattern(id="k", expression="(", refuse_input=True)]}, "patterns[0].expression", "RE2"),
    ({"patterns": [LOOK_AHEAD]}, "patterns[0].expression", "no look-around"),
    ({"patterns": [EVERYWHERE]}, "patterns[0].expression", "found everywhere"),
    ({"patterns": [pb.ContentPattern(id="k", expression="a")]}, "patterns[0]", "does nothing"),
    ({"bulkheads": [pb.Bulkhead(id="b")]}, "bulkheads[0].max_concurrent", "at least 1"),
    ({"bulkheads": [bulkhead(), bulkhead()]}, "bulkheads[1].id", "a second time"),
    ({"bulkheads": [bulkhead(tools=["a b"])]}, "bulkheads[0].tools[0]", "a tool is named"),
    ({"bulkheads": [bulkhead(executors=[""])]}, "bulkheads[0].executors[0]", "printable"),
    ({"bulkheads": [bulkhead(executors=["x"], tools=["y"])]}, "bulkheads[0].tools", "all that runs on them"),
    ({"bulkheads": [bulkhead(executors=["x"], max_queued=1)]}, "bulkheads[0].max_queued", "bulkheads of tools"),
    ({"bulkheads": [bulkhead(id=f"b{n}") for n in range(101)]}, "bulkheads", "at most 100"),
    ({"changes_need_approval": True}, "changes_need_approval", "policies.approve"),
    ({"rules": [rule(id=f"r{n}") for n in range(1001)]}, "rules", "at most 1000"),
    ({"rules": [rule(id=f"r{n}", condition="true") for n in range(101)]}, "rules", "at most 100"),
    ({"rules": [rule(id=f"r{n}", tools=[f"t{m}" for m in range(60)]) for n in range(90)]}, "rules", "at most 5000"),
    ({"roles": [role(f"r{n}") for n in range(201)]}, "roles", "at most 200"),
    ({"roles": [role(inherits=[f"r{n}" for n in range(21)])]}, "roles", "at most 20"),
    (
        {"roles": [role(f"r{n}", inherits=[f"r{n + 1}"], grants=[f"p{n}:{m}" for m in range(40)]) for n in range(150)]},
        "roles",
        "where it is inherited",
    ),
    ({"roles": [role(grants=[f"p{'x' * 90}:{n}" for n in range(900)]) for _ in range(4)]}, "policy", "256 KiB"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "field", "problem"), WRONG)
def test_what_is_wrong_is_told_with_its_field(fields, field, problem):
    violations = found(**fields)
    assert field in violations
    assert problem in violations[field]


def test_all_that_is_wrong_is_told_at_once():
    assert found(rules=[rule(id="A"), rule(effect=0)], limits=[limit(count=0)]).keys() >= {
        "rules[0].id",
        "rules[1].effect",
        "limits[0].count",
    }


def test_of_very_many_only_so_many_are_told():
    assert len(found(rules=[rule(id=f"R{n}") for n in range(1000)])) == 100


def test_unknown_permissions_and_roles_are_warnings():
    policy = pb.Policy(
        name="p",
        roles=[role("clerk", grants=["tools.cal", "own.permission"])],
        rules=[rule(roles=["clerc"], permissions=["emial_send"])],
    )
    assert policy_violations(policy, CONDITIONS) == []
    warnings = dict(policy_warnings(policy))
    assert warnings.keys() == {
        "roles[0].grants[0]", "roles[0].grants[1]", "rules[0].permissions[0]", "rules[0].roles[0]",
    }  # fmt: skip
    assert "tools.call" in warnings["roles[0].grants[0]"]
    assert "clerk" in warnings["rules[0].roles[0]"]
