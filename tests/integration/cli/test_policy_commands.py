"""A policy on the command line: tested, looked at, tried on past calls, applied, taken back, approved."""

import itertools
import json

import pytest

POLICY = """\
name: ours
roles:
  admin: {grants: ["*"]}
  agent: {grants: ["workflows.*", tools.read, tools.call]}
rules:
  - {id: small, effect: allow, permissions: [financial_operations], condition: arguments.cents < 10}
tests:
  - {name: a small one, roles: [agent], tool: pay, permissions: [financial_operations], arguments: {cents: 5},
     expect: allow, rule: rule:small}
  - {name: a large one, roles: [agent], tool: pay, permissions: [financial_operations], arguments: {cents: 50},
     expect: deny}
"""
_tenants = (f"policy-commands-{number}" for number in itertools.count(1))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def ask(service, podium_command):
    """Runs a command in a tenant of the test's own: `ask("show", subject="zoe")`."""
    tenant = next(_tenants)

    def run(*words, subject="ana", role="admin", group="policy"):
        token = service.token(subject, roles=[role], tenant=tenant)
        return podium_command(group, *words, PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)

    run.tenant = tenant
    return run


def test_cases_are_decided_without_a_service(podium_command, file):
    tested = podium_command("policy", "test", file)
    assert (tested.code, "2 of 2 cases came out as expected" in tested.err) == (0, True)
    file.write_text(POLICY.replace("cents < 10", "cents < 100"))
    failed = podium_command("policy", "test", file, "--json")
    assert failed.code == 1
    assert [(case["name"], case["passed"], case["rule"]) for case in failed.lines] == [
        ("a small one", True, "rule:small"),
        ("a large one", False, "rule:small"),
    ]
    assert "FAILED" in podium_command("policy", "test", file).out


def test_further_cases_come_from_a_file_of_their_own(podium_command, file, tmp_path):
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps([{"name": "nobody", "permissions": ["tools.read"], "expect": "allow"}]))
    tested = podium_command("policy", "test", file, "--cases", cases, "--json")
    assert (tested.code, tested.lines[-1]["rule"], tested.lines[-1]["missing"]) == (1, "default-deny", ["tools.read"])


def test_a_policy_with_mistakes_is_bad_input(podium_command, file):
    file.write_text(POLICY.replace("arguments.cents < 10", "argument.cents").replace("tools.call]", "tools.cal]"))
    refused = podium_command("policy", "test", file)
    assert (refused.code, "rules[0].condition" in refused.err) == (2, True)
    file.write_text(POLICY.replace("tools.call]", "tools.cal]"))
    assert "do you mean tools.call?" in podium_command("policy", "test", file).err


def test_a_policy_is_applied_shown_compared_and_taken_back(ask, file):
    assert ask("history").err.startswith("the built-in policy")
    applied = ask("apply", file, "--note", "begin", "--expected-revision", "0", "--json")
    assert (applied.code, applied.json["revision"]) == (0, 1)
    assert ask("apply", file, "--expected-revision", "0").code == 1
    shown = ask("show")
    assert shown.out.startswith("# revision 1, ")
    assert shown.out.splitlines()[0].endswith("by ana: begin")
    again = file.with_name("again.yaml")
    again.write_text(shown.out)
    assert ask("diff", again).err == "they do not differ\n"
    assert "+name: ours" in ask("diff", "0", again).out
    assert ask("diff", "0", "1", "--json").json["from"] == "0"
    assert ask("rollback", "0", "--note", "too new").out == "revision 2 is in force\n"
    history = ask("history", "--json").lines
    assert [(each["revision"], each["name"], each["note"]) for each in history] == [
        (2, "default", "too new"),
        (1, "ours", "begin"),
    ]
    assert ask("show", "--revision", "1", "--json").json["policy"]["rules"][0]["id"] == "small"
    assert ask("show", "--revision", "9").code == 4
    assert ask("apply", file, role="viewer").code == 3


def test_a_policy_whose_own_cases_fail_is_not_sent(ask, file):
    file.write_text(POLICY.replace("cents < 10", "cents < 100"))
    refused = ask("apply", file)
    assert (refused.code, "'a large one'" in refused.err) == (1, True)
    assert ask("show", "--json").json["revision"] == 0


def test_who_would_lock_themselves_out_is_told_by_which_rule(ask, file):
    file.write_text(POLICY.replace('grants: ["*"]', "grants: [policies.read]"))
    refused = ask("apply", file, "--json")
    assert (refused.code, json.loads(refused.err)["error"]["reason"]) == (2, "POLICY_LOCKS_OUT")


async def test_a_dry_run_prints_which_past_calls_would_change(ask, file, service, admit):
    agent = admit("bob", roles=["agent"], tenant=ask.tenant)
    await admit(tenant=ask.tenant).register("pay", permissions=["financial_operations"])
    for cents in (5, 50):
        await agent.call("pay", {"cents": cents})
    printed = ask("apply", file, "--dry-run", "--since", "1h", "--json")
    *changes, summary = printed.lines
    assert summary == {"decided": 2, "changed": 1, "undecidable": 0}
    [change] = changes
    assert (change["tool"], change["subject"]) == ("pay", "bob")
    assert (change["before"], change["rule_before"]) == ("deny", "default-deny")
    assert (change["after"], change["rule_after"]) == ("allow", "rule:small")
    table = ask("apply", file, "--dry-run")
    assert "deny (default-deny)" in table.out
    assert "1 of 2 calls would be decided differently; nothing was changed" in table.err
    assert ask("show", "--json").json["revision"] == 0
    assert ask("apply", file, "--dry-run", "--since", "soon").code == 2


def test_a_second_person_approves_or_rejects(ask, file):
    file.write_text(f"changes_need_approval: true\n{POLICY}")
    assert ask("apply", file).code == 0
    waiting = ask("apply", file, "--note", "again", "--json").json
    assert waiting["revision"] is None
    [listed] = ask("proposals", "--json").lines
    assert (listed["proposal_id"], listed["proposed_by"], listed["note"]) == (waiting["proposal_id"], "ana", "again")
    assert ask("approve", waiting["proposal_id"]).code == 3
    assert ask("approve", waiting["proposal_id"], subject="zoe").out == "revision 2 is in force\n"
    assert ask("history", "--json").lines[0]["proposed_by"] == "ana"
    other = ask("apply", file, "--json").json["proposal_id"]
    assert ask("reject", other, "--reason", "no", subject="zoe").code == 0
    assert ask("approve", other, subject="zoe").code == 1
    assert ask("proposals").err == "nothing waits\n"
