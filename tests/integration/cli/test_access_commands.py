"""What an operator does on the command line about addresses and tenants."""

import json

import pytest


@pytest.fixture
def ask(service, podium_command):
    """Runs a command as an administrator, or as another role: `ask("tenants", "list", role="viewer")`."""

    def run(*words, role="admin", tenant="default"):
        token = service.token("ana", roles=[role], tenant=tenant)
        return podium_command(*words, PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)

    return run


def test_addresses_are_blocked_listed_and_unblocked(ask):
    def about(*words, **more):
        return ask("addresses", *words, tenant="address-commands", **more)

    assert about("list").err == "no address is blocked\n"
    said = about("block", "203.0.113.0/24", "--for", "1h", "--reason", "scans")
    assert (said.code, said.out.startswith("203.0.113.0/24 is blocked for 1h (event 0:")) == (0, True)
    assert about("block", "2001:db8::1", "--json").json["event"].startswith("0:")
    first, second = about("list", "--json").lines
    assert (first["network"], first["reason"], first["failures"]) == ("203.0.113.0/24", "scans", 0)
    assert (second["network"], second["expires_at"]) == ("2001:db8::1/128", None)
    assert "scans" in about("list").out
    assert about("unblock", "203.0.113.0/24").code == 0
    assert len(about("list", "--json").lines) == 1


def test_what_is_wrong_about_an_address_has_its_exit_code(ask):
    def about(*words, **more):
        return ask("addresses", *words, "--json", tenant="address-commands", **more)

    assert about("block", "nonsense").code == 2
    assert about("block", "203.0.113.7", "--for", "ever").code == 2
    assert about("unblock", "198.51.100.1").code == 4
    denied = about("block", "203.0.113.7", role="viewer")
    assert (denied.code, json.loads(denied.err)["error"]["reason"]) == (3, "PERMISSION_DENIED")


def test_tenants_are_made_configured_listed_and_shown(ask):
    made = ask("tenants", "create", "cli-acme", "--display-name", "Acme Inc.", "--open-workflows", "500", "--json")
    assert (made.code, made.json["quotas"]["open_workflows"]) == (0, 500)
    assert ask("tenants", "create", "cli-acme").code != 0
    said = ask("tenants", "configure", "cli-acme", "--requests-per-minute", "60")
    assert said.out == "cli-acme: open workflows 500, requests per minute 60\n"
    shown = ask("tenants", "show", "cli-acme", "--json").json
    assert (shown["display_name"], shown["usage"]["open_workflows"]) == ("Acme Inc.", 0)
    assert "500" in ask("tenants", "show", "cli-acme").out
    assert "cli-acme" in [line["name"] for line in ask("tenants", "list", "--json").lines]
    assert "Acme Inc." in ask("tenants", "list").out


def test_a_tenant_that_there_is_not_and_a_name_that_is_none(ask):
    assert ask("tenants", "show", "cli-nobody").code == 4
    assert ask("tenants", "configure", "cli-nobody", "--tools", "1").code == 4
    assert ask("tenants", "create", "no name").code == 2
    assert ask("tenants", "create", "cli-other", role="viewer").code == 3
