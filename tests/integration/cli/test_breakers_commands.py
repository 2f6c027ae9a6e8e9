"""`podium breakers`, and the demonstration of breakers."""

import json

import pytest

TENANT = "breaking"
ROUND = ["open", "half_open", "closed"]


@pytest.fixture
def ask(service, podium_command):
    """Runs a command as an administrator, or as another role."""

    def run(*words, role="admin"):
        token = service.token("ana", roles=[role], tenant=TENANT)
        return podium_command(*words, PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)

    return run


async def test_a_breaker_is_opened_shown_listed_and_closed(ask, admit):
    await admit(tenant=TENANT).register("pay")
    opened = ask("breakers", "open", "pay", "--reason", "it pays twice", "--json").json
    assert (opened["state"], opened["last_transition"]["note"]) == ("forced_open", "it pays twice")
    shown = ask("breakers", "show", "pay").out
    assert shown.startswith("pay: forced_open\n")
    assert "no rule of the policy speaks of it" in shown
    assert "SET_BY_OPERATOR: it pays twice" in shown
    header, row = ask("breakers", "list", "--state", "forced_open").out.splitlines()
    assert header.split()[:2] == ["tool", "state"]
    assert row.split()[:2] == ["pay", "forced_open"]
    assert ask("breakers", "close", "pay", "--json").json["state"] == "disabled"


async def test_what_cannot_be_asked_has_its_exit_code(ask):
    assert ask("breakers", "show", "nothing").code == 4
    assert ask("breakers", "list", "--state", "ajar").code == 2
    denied = ask("breakers", "open", "pay", "--json", role="viewer")
    assert (denied.code, json.loads(denied.err)["error"]["reason"]) == (3, "PERMISSION_DENIED")


def test_the_demonstration_goes_all_the_way_round_by_its_seed(podium_command):
    shown = podium_command("demo", "breakers", "--json")
    assert shown.code == 0, shown.err
    run = shown.json
    for tool, transitions in (("weather", 3 * ["open", "half_open"] + ROUND), ("stocks", ROUND)):
        assert [each["to"] for each in run["transitions"] if each["tool"] == tool] == transitions
    assert all(each["caused_by"] for each in run["transitions"])
    assert {len(line.replace("!", "")) for line in run["calls"].values()} == {25}
    assert run["calls"]["clock"] == 25 * "."
    assert "!" in run["calls"]["stocks"]
