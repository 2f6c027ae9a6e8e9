"""`podium token inspect` tells whether a token is accepted and why not; `podium token revoke` takes it back."""

import pytest

from service.cli.access.token_commands import claims_of


@pytest.fixture
def ask(podium_command, service, tmp_path):
    """Runs a command as an admin of the operator's tenant, beside the service's keys."""
    admin = service.token(tenant="cli-tokens")

    def run(*words, **variables):
        told = {
            "PODIUM_ADDRESS": service.address,
            "PODIUM_TOKEN": admin,
            "PODIUM_STATE_DIRECTORY": str(service.directory / "state"),
        }
        return podium_command("token", *words, cwd=tmp_path, **{**told, **variables})

    return run


@pytest.fixture
def token(service):
    def make(subject, **claims):
        return service.token(subject, tenant="cli-tokens", roles=["viewer"], **claims)

    return make


def test_a_good_token_is_accepted_here_and_there(ask, token, service):
    held = token("bob")
    told = ask("inspect", held, "--json")
    assert (told.code, told.json["claims"]["sub"]) == (0, "bob")
    assert (told.json["verified"], told.json["accepted"], told.json["service"]) == (True, True, service.address)
    assert told.json["reason"] == ""
    shown = ask("inspect", held).out
    assert "keys here      accepted" in shown
    assert f"service        accepted, {service.address}" in shown


def test_one_without_any_role_is_still_accepted(ask, service):
    assert ask("inspect", service.token("bob", roles=[], tenant="cli-tokens")).code == 0


@pytest.mark.parametrize(("how", "reason"), [("expired", "TOKEN_EXPIRED"), ("changed", "TOKEN_INVALID")])
def test_a_bad_one_is_refused_here_and_there(ask, token, how, reason):
    held = token("bob", ttl_s=-3600) if how == "expired" else token("bob")[:-8] + "AAAAAAAA"
    told = ask("inspect", held, "--json")
    assert (told.code, told.json["verified"], told.json["accepted"], told.json["reason"]) == (3, False, False, reason)
    assert f"refused ({reason})" in ask("inspect", held).out


def test_without_keys_or_a_service_it_says_that_it_does_not_know(ask, token, tmp_path):
    nowhere = {"PODIUM_ADDRESS": "", "PODIUM_DEV_FILE": "none.json", "PODIUM_STATE_DIRECTORY": str(tmp_path / "none")}
    told = ask("inspect", token("bob"), "--json", **nowhere)
    assert (told.code, told.json["verified"], told.json["accepted"], told.json["service"]) == (0, None, None, None)
    assert not (tmp_path / "none").exists(), "to look at a token makes no key"
    assert "not asked: none answers" in ask("inspect", token("bob"), **nowhere).out


def test_a_revoked_one_is_good_here_and_refused_there(ask, token):
    held = token("bob")
    done = ask("revoke", held, "--reason", "lost", "--json")
    assert (done.code, done.json["token_id"]) == (0, claims_of(held)["jti"])
    assert done.json["event"].partition(":")[0].isdecimal()
    assert (done.json["canceled_workflows"], done.json["ended_streams"]) == (0, 0)
    told = ask("inspect", held, "--json")
    assert (told.code, told.json["verified"], told.json["accepted"]) == (3, True, False)
    assert told.json["reason"] == "TOKEN_REVOKED"
    assert ask("revoke", held, "--json").json["event"] == done.json["event"]


def test_a_session_and_a_subject_are_revoked_by_name(ask, token):
    in_session = token("carla", session_id="s1")
    assert "session s1 is revoked" in ask("revoke", "--session", "s1").out
    assert ask("inspect", in_session).code == 3
    assert ask("inspect", token("carla")).code == 0
    assert "subject carla is revoked" in ask("revoke", "--subject", "carla").out
    assert ask("inspect", in_session).code == 3


def test_bad_words_are_refused(ask, token):
    for words in ((), ("--session", "s", "--subject", "x"), ("nonsense",)):
        assert ask("revoke", *words).code == 2
    assert ask("revoke", "--subject", "x", PODIUM_TOKEN=token("viewer")).code == 3


def test_a_session_is_minted(ask):
    minted = ask("mint", "--subject", "bob", "--session", "s9", "--json").json
    assert minted["claims"]["sid"] == "s9"
