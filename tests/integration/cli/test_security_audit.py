"""`podium audit security` on a service in which something was denied."""

import json

import pytest

from tests.integration.rig.caller import step

READ_FILE = {"type": "object", "properties": {"path": {"type": "string"}}}


@pytest.fixture
async def denied(caller, admit):
    """A tenant in which bob asked, twice, for a tool that he may not use. Returns the events of the denials."""
    await caller.register("read_file", READ_FILE, permissions=["read_files"], read_only=True)
    await caller.register("transfer", permissions=["financial_operations"])
    bob = admit("bob", roles=["agent"])
    for _ in range(2):
        await bob.ended(await bob.start(step("transfer")))
    return [f"0:{event.position}" for event in await caller.log() if event.HasField("permission_checked")]


@pytest.fixture
def report(service, podium_command, tenant):
    def run(*words, roles=("admin",), **claims):
        token = service.token("ana", roles=roles, tenant=tenant, **claims)
        return podium_command("audit", "security", *words, PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)

    return run


def by_kind(ended):
    findings = ended.json["findings"]
    return {kind: [each for each in findings if each["kind"] == kind] for kind in {each["kind"] for each in findings}}


async def test_what_was_denied_is_reported_with_the_events_behind_it(denied, report):
    ended = report("--json")
    assert ended.code == 1, "the built-in policy is as bad as high"
    [finding] = by_kind(ended)["denied-calls"]
    assert finding["what"] == "bob was denied transfer 2 times (rule default-deny)"
    assert (finding["events"], finding["count"]) == (denied, 2)
    [risky] = by_kind(ended)["parameters-without-sanitizers"]
    assert risky["what"] == "read_file takes path without a sanitizer"


async def test_the_exit_code_tells_whether_something_is_as_bad_as_feared(denied, report):
    assert report("--fail-on", "critical").code == 0
    assert report("--fail-on", "medium").code == 1
    assert report("--fail-on", "dreadful").code == 2
    assert report("--since", "yesterday").code == 2


async def test_weak_settings_are_findings_and_those_of_a_service_elsewhere_are_not_examined(denied, report):
    ended = report("--json")
    [own_policy] = [each for each in by_kind(ended)["configuration"] if "built-in policy" in each["what"]]
    assert own_policy["severity"] == "high"
    assert "the settings of the service" in " ".join(ended.json["not_examined"])


async def test_it_looks_no_further_back_than_it_is_told(denied, report):
    assert "denied-calls" in by_kind(report("--json", "--since", "1h"))
    assert "denied-calls" not in by_kind(report("--json", "--since", "0s"))


async def test_what_the_caller_may_not_see_is_told_as_not_examined(denied, report):
    ended = report("--json", roles=("viewer",))
    told = " ".join(ended.json["not_examined"])
    assert "the trail: ana needs audit.read" in told
    assert "tools.administer" in told
    assert "policies.read" in told
    assert "denied-calls" not in by_kind(ended)


async def test_another_tenant_sees_nothing_of_it(denied, report, service, podium_command):
    token = service.token("eve", roles=("admin",), tenant="elsewhere-entirely")
    ended = podium_command("audit", "security", "--json", PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)
    assert "bob" not in json.dumps(ended.json)


async def test_for_a_person_it_is_a_table(denied, report):
    ended = report()
    assert "bob was denied transfer 2 times" in ended.out
    assert "lines of the trail" in ended.err
