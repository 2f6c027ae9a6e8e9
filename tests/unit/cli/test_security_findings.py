"""What the security audit finds in a trail, in tools and in a policy, and that it finds nothing where nothing is."""

import json
from pathlib import Path

import pytest

from podium.v1 import access_service_pb2, events_pb2, policy_pb2, tool_service_pb2, value_pb2
from service.cli.security import trail as security_trail
from service.cli.security.command import all_findings, report_dict
from service.cli.security.findings import Evidence, Severity
from service.cli.security.trail import TYPES, Trail
from service.cli.tools.facts import tool_facts
from tests.unit.cli.security_lines import DAY_US, NOW_US, checked, line

ALLOW, DENY = events_pb2.DECISION_ALLOW, events_pb2.DECISION_DENY
GOLDEN = Path(__file__).parents[2] / "golden" / "audit" / "trail.jsonl"


def trail_of(*lines):
    trail = Trail()
    for each in lines:
        trail.add(each)
    return trail


def tool(name, schema=None, **fields):
    definition = {"name": name, "input_schema_json": json.dumps(schema or {"type": "object"}), **fields}
    return tool_facts(tool_service_pb2.Tool(definition=definition, version=1))


def policy(**grants):
    roles = [policy_pb2.Role(name=name, grants=each) for name, each in grants.items()]
    return access_service_pb2.PolicyRevision(revision=3, policy=policy_pb2.Policy(name="own", roles=roles))


def found(trail=None, tools=None, in_force=None):
    return all_findings(Evidence(NOW_US, NOW_US - 30 * DAY_US, trail, tools, in_force))


def kinds(*arguments):
    """What is found beside the configuration, of which the checklist's tests speak."""
    return [finding.kind for finding in found(*arguments) if finding.kind != "configuration"]


SAFE = tool("mail", permissions=["email_send"])
USED = trail_of(line(checked(ALLOW)))
"""The safe tool, called by who has the role agent."""


def test_where_all_is_well_nothing_is_found():
    assert kinds(USED, [SAFE], policy(agent=["email_send"])) == []


REFUSED = {
    "denied-calls": checked(DENY, rule="default-deny"),
    "denied-requests": events_pb2.RequestDenied(reason="PERMISSION_DENIED", method="/a/ApplyPolicy", count=1),
    "failed-authentications": events_pb2.AuthenticationFailed(reason="TOKEN_INVALID", address="192.0.2.1", count=1),
    "lockouts": events_pb2.AddressBlocked(network="192.0.2.1/32", failures=5),
    "refused-inputs": events_pb2.InputRejected(step_id="s", guard="path", reason="PATH_OUTSIDE_ROOTS"),
    "rate-limits": events_pb2.RateLimited(step_id="s", limit="mails"),
    "policy-changed-alone": events_pb2.PolicyApplied(revision=2),
    "self-approved": events_pb2.PolicyApplied(proposal_id="p", proposer=value_pb2.Principal(subject="ana")),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_finds_with_the_events_behind_it(kind):
    [finding] = found(trail_of(line(REFUSED[kind], position=41), line(REFUSED[kind], position=42)))
    assert (finding.kind, finding.count, list(finding.events)) == (kind, 2, ["0:41", "0:42"])
    assert finding.what
    assert finding.why
    assert finding.remedy


FINE = [
    events_pb2.AddressBlocked(network="192.0.2.1/32"),
    events_pb2.SubmissionRefused(reason="UNKNOWN_TOOL", method="/a/StartWorkflow", count=3),
    events_pb2.PolicyApplied(proposal_id="p", proposer=value_pb2.Principal(subject="eve")),
    events_pb2.PolicyProposed(proposal_id="p"),
    events_pb2.StepsAdded(),
]


@pytest.mark.parametrize("payload", FINE, ids=lambda payload: payload.DESCRIPTOR.name)
def test_what_somebody_did_rightly_is_no_finding(payload):
    assert kinds(trail_of(line(payload))) == []


def test_an_event_that_stands_for_many_counts_as_many():
    flood = events_pb2.AuthenticationFailed(reason="TOKEN_INVALID", address="192.0.2.1", count=500)
    [finding] = found(trail_of(line(flood)))
    assert (finding.count, len(finding.events), finding.severity) == (500, 1, Severity.HIGH)


def test_requests_that_were_denied_are_told_apart_by_what_was_asked_for_and_for_whom():
    def denied(resource, count, **who):
        principal = value_pb2.Principal(subject="reader", **who)
        method = "/podium.v1.ToolService/CallTool" if resource else ""
        required = "tools.call" if resource else ""
        fields = {"method": method, "required": required, "resource": resource, "principal": principal}
        return line(events_pb2.RequestDenied(reason="PERMISSION_DENIED", rule="default-deny", count=count, **fields))

    trail = trail_of(
        denied("refund", 1),
        denied("refund", 2),
        denied("quote", 2),
        denied("quote", 1, on_behalf_of="bob"),
        denied("", 9),
    )
    assert {finding.what for finding in found(trail)} == {
        "reader was refused CallTool (tools.call refund) 3 times (PERMISSION_DENIED)",
        "reader was refused CallTool (tools.call quote) 2 times (PERMISSION_DENIED)",
        "reader for bob was refused CallTool (tools.call quote) 1 times (PERMISSION_DENIED)",
        # Of a flood with more kinds than are told apart, the caller alone is told.
        "reader was refused requests 9 times (PERMISSION_DENIED)",
    }


def test_a_literal_that_a_sanitizer_refused_at_submission_is_found_and_what_was_no_valid_request_is_counted_apart():
    refused = {"method": "/podium.v1.ToolService/CallTool", "count": 10}
    trail = trail_of(
        line(events_pb2.SubmissionRefused(guard="path", sanitizer_reason="PATH_TRAVERSAL", **refused)),
        line(events_pb2.SubmissionRefused(reason="INPUT_REJECTED", **refused)),
        line(events_pb2.SubmissionRefused(reason="INVALID_WORKFLOW", **refused)),
    )
    told = {finding.what: (finding.kind, finding.severity) for finding in found(trail)}
    assert told == {
        "path refused arguments of ana 10 times (PATH_TRAVERSAL)": ("refused-inputs", Severity.HIGH),
        "a sanitizer refused arguments of ana 10 times (INPUT_REJECTED)": ("refused-inputs", Severity.HIGH),
        "CallTool of ana were no valid requests 10 times (INVALID_WORKFLOW)": (
            "invalid-submissions",
            Severity.LOW,
        ),
    }


def test_the_worst_comes_first():
    found_kinds = kinds(trail_of(*map(line, REFUSED.values())))
    assert found_kinds[0] == "self-approved"
    assert set(found_kinds) == set(REFUSED)


def test_a_sanitizer_that_refuses_often_is_worse_than_a_schema():
    path, schema = (events_pb2.InputRejected(step_id="s", guard=guard) for guard in ("path", "schema"))
    severities = {
        finding.what.split()[0]: finding.severity for finding in found(trail_of(*map(line, [path, schema] * 10)))
    }
    assert severities == {"path": Severity.HIGH, "schema": Severity.LOW}


def test_a_tool_that_nobody_called_and_a_grant_that_nobody_used_are_found():
    unused = tool("pay", permissions=["financial_operations"])
    in_force = policy(agent=["email_send"], clerk=["financial_operations", "workflows.read"])
    assert kinds(USED, [SAFE, unused], in_force) == ["unused-grants", "unused-tools"]


def test_a_grant_counts_as_used_when_an_heir_used_it():
    in_force = policy(sender=["email_send"], agent=[])
    in_force.policy.roles[1].inherits.append("sender")
    assert kinds(USED, [SAFE], in_force) == []


def test_a_wildcard_that_grants_far_more_than_was_used_is_found():
    many = [SAFE, *(tool(f"t{n}", permissions=[f"x.{n}"]) for n in range(4))]
    everything = [line(checked(ALLOW, tool=f"t{n}", required=[f"x.{n}"])) for n in range(4)]
    called, used = trail_of(line(checked(ALLOW)), everything[0]), trail_of(line(checked(ALLOW)), *everything)
    assert "broad-grants" in kinds(called, many, policy(agent=["email_send", "x.*"]))
    assert kinds(used, many, policy(agent=["email_send", "x.*"])) == []


def test_a_role_that_grants_everything_is_found():
    assert kinds(USED, [SAFE], policy(agent=["*"])) == ["almighty-roles"]


ALL_BUT_REPLAY = ["workflows.*", "tools.*", "events.*", "audit.*", "quarantine.*", "keys.*", "policies.*"]
ALL_BUT_REPLAY += ["credentials.*", "addresses.*", "breakers.*", "cache.*", "statistics.*", "executors.*", "status.*"]


@pytest.mark.parametrize(
    ("grants", "rules", "is_almighty"),
    [
        (["*:*"], [], True),
        (["*:billing-*"], [], True),
        ([*ALL_BUT_REPLAY, "replay"], [], True),
        (ALL_BUT_REPLAY, [], False),
        ([], [{"id": "r", "effect": policy_pb2.EFFECT_ALLOW, "permissions": ["*"]}], True),
        ([], [{"id": "r", "effect": policy_pb2.EFFECT_ALLOW, "permissions": [*ALL_BUT_REPLAY, "replay"]}], True),
        ([], [{"id": "r", "effect": policy_pb2.EFFECT_ALLOW, "permissions": ["*"], "condition": "true"}], True),
        ([], [{"id": "r", "effect": policy_pb2.EFFECT_ALLOW, "permissions": ["*"], "roles": ["agent"]}], False),
        ([], [{"id": "r", "effect": policy_pb2.EFFECT_FORBID, "permissions": ["*"]}], False),
    ],
)
def test_however_everything_is_granted_it_is_found(grants, rules, is_almighty):
    in_force = policy(agent=grants)
    in_force.policy.rules.extend(policy_pb2.Rule(**rule) for rule in rules)
    assert ("almighty-roles" in kinds(USED, [SAFE], in_force)) == is_almighty


def test_a_role_that_inherits_everything_grants_everything():
    in_force = policy(admin=["*"], heir=[])
    in_force.policy.roles[1].inherits.append("admin")
    told = [finding.what for finding in found(USED, [SAFE], in_force) if finding.kind == "almighty-roles"]
    assert told == [f"everything is granted by the role {name}" for name in ("admin", "heir")]


@pytest.mark.parametrize(
    ("guard", "reason", "is_told"),
    [
        ("address", "ADDRESS_BLOCKED", True),
        ("schema", "GUARD_ERROR", True),
        ("permission", "PERMISSION_DENIED", False),
        ("rate_limit", "RATE_LIMITED", False),
    ],
)
def test_a_denied_step_is_told_where_no_event_of_its_guard_tells_it(guard, reason, is_told):
    denied = events_pb2.StepDenied(step_id="s", guard=guard, failure={"reason": reason})
    told = [finding.what for finding in found(trail_of(line(denied, tool="mail")))]
    assert told == ([f"ana was denied mail 1 times (rule {reason})"] if is_told else [])


def test_a_tool_without_permissions_is_worse_when_it_changes_something():
    for name, read_only, severity in (("wipe", False, Severity.HIGH), ("look", True, Severity.MEDIUM)):
        [finding] = found(trail_of(line(checked(ALLOW, tool=name))), [tool(name, read_only=read_only)])
        assert (finding.kind, finding.severity) == ("tools-without-permissions", severity)


def test_what_the_policy_lacks_is_found_in_the_configuration():
    told = [finding.what for finding in found(None, [SAFE], policy(agent=["email_send"]))]
    assert "one person can change the policy" in told
    assert any("no rate limit counts them: mail" in what for what in told)
    assert found(None, None, None) == []


RISKY = ["path", "targetFile", "webhook_url", "cmd", "sql", "inner.directory", "files[].html"]
HARMLESS = ["query", "profile", "curl_count", "pathology", "style"]


def schema_with(name, leaf):
    head, dot, rest = name.partition(".")
    below = schema_with(rest, leaf) if dot else leaf
    if head.endswith("[]"):
        below = {"type": "array", "items": below}
    return {"type": "object", "properties": {head.removesuffix("[]"): below}}


@pytest.mark.parametrize("name", RISKY)
def test_a_parameter_whose_name_is_risky_needs_a_sanitizer(name):
    def kinds_with(leaf):
        one = tool("mail", schema_with(name, leaf), permissions=["email_send"])
        return kinds(USED, [one])

    assert kinds_with({"type": "string"}) == ["parameters-without-sanitizers"]
    declared = {"x-podium-sanitize": {kind: {} for kind in ("path", "url", "command", "sql", "html")}}
    assert kinds_with({"type": "string", **declared}) == []
    assert kinds_with({"allOf": [{"type": "string"}, declared]}) == []
    assert kinds_with({"$ref": "#/$defs/not there", **declared}) == []
    assert kinds_with({"type": "string", "x-podium-sanitize": {"text": {}}}) == ["parameters-without-sanitizers"]
    assert kinds_with({"type": "string", "enum": ["a"]}) == []
    assert kinds_with({"type": "integer"}) == []


@pytest.mark.parametrize("name", HARMLESS)
def test_a_parameter_whose_name_only_looks_risky_is_left_alone(name):
    assert kinds(USED, [tool("mail", schema_with(name, {"type": "string"}), permissions=["email_send"])]) == []


def token_line(at_us, issued_at_us=0):
    return line(events_pb2.StepsAdded(authority={"issued_at_us": issued_at_us}), at_us=at_us)


def test_tokens_that_live_long_or_lie_about_are_found():
    old = trail_of(token_line(NOW_US, NOW_US - 31 * DAY_US))
    assert [(f.kind, f.severity) for f in found(old)] == [("stale-tokens", Severity.MEDIUM)]
    forgotten = trail_of(token_line(NOW_US - 15 * DAY_US))
    assert [(f.kind, f.severity) for f in found(forgotten)] == [("stale-tokens", Severity.LOW)]
    assert kinds(trail_of(token_line(NOW_US - DAY_US, NOW_US - 2 * DAY_US))) == []


@pytest.mark.parametrize("credential", [{"token_id": "t1"}, {"session_id": "s1"}, {"subject": "ana"}])
def test_a_token_that_was_revoked_is_not_stale(credential):
    old = line(events_pb2.StepsAdded(authority={"issued_at_us": 1}), session_id="s1")
    revoked = line(events_pb2.CredentialsRevoked(**credential), subject="eve", token_id="t2")
    assert kinds(trail_of(old)) == ["stale-tokens"]
    assert kinds(trail_of(old, revoked)) == []


def test_the_trail_of_every_event_can_be_counted():
    lines = [json.loads(each) for each in GOLDEN.read_text().splitlines()]
    wanted = [each for each in lines if each["type"] in TYPES]
    assert {each["type"] for each in wanted} == set(TYPES)
    assert trail_of(*wanted).lines == len(wanted)


def test_what_is_kept_does_not_grow_with_the_trail(monkeypatch):
    monkeypatch.setattr(security_trail, "KEYS_MAX", 3)
    trail = trail_of(*(line(checked(DENY, subject=f"s{n}", rule="x"), token_id=f"t{n}") for n in range(50)))
    assert len(trail.denied_calls) == 4
    assert sum(seen.count for seen in trail.denied_calls.values()) == 50
    assert sum(finding.count for finding in found(trail)) == 50
    assert len(trail.tokens) <= 3


def test_what_was_not_examined_is_told_and_nothing_is_found_in_it():
    evidence = Evidence(NOW_US, 0, not_examined=["the trail: needs audit.read"])
    assert all_findings(evidence) == []
    assert report_dict(evidence, [])["not_examined"] == ["the trail: needs audit.read"]
