"""What an operator does on the command line: data keys and the quarantine."""

import json

import pytest

TENANT = "operated"


@pytest.fixture
def ask(service, podium_command):
    """Runs a command as an administrator, or as another role: `ask("keys", "list", role="viewer")`."""

    def run(*words, role="admin"):
        token = service.token("ana", roles=[role], tenant=TENANT)
        return podium_command(*words, PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)

    return run


def test_keys_are_rotated_listed_and_destroyed(ask):
    first = ask("keys", "rotate", "--json").json
    assert first["current"]
    assert first["destroyed_at"] is None
    assert ask("keys", "rotate").out.startswith("values are sealed with ")

    refused = ask("keys", "destroy", first["key_id"])
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert ask("keys", "list", "--json").lines[0] == first | {"current": False}

    ended = ask("keys", "destroy", first["key_id"], "--yes", "--json")
    assert (ended.code, ended.json["destroyed_at"] is not None) == (0, True)
    listed = ask("keys", "list", "--json")
    assert [key["current"] for key in listed.lines] == [False, True]
    assert listed.lines[0] == ended.json
    assert "destroyed" in ask("keys", "list").out


def test_a_key_that_there_is_not_and_a_caller_that_may_not(ask):
    assert ask("keys", "destroy", "nothing", "--yes").code == 4
    denied = ask("keys", "rotate", "--json", role="viewer")
    assert (denied.code, json.loads(denied.err)["error"]["reason"]) == (3, "PERMISSION_DENIED")


def test_what_is_not_quarantined_is_not_released(ask):
    listed = ask("quarantine", "list")
    assert (listed.code, listed.out, listed.err) == (0, "", "no workflow is quarantined\n")
    refused = ask("quarantine", "release", "wf_nothing")
    assert refused.code == 4
