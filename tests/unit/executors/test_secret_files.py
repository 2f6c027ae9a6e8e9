"""Secrets in files are given to whom the policy lets have them, from files that nobody else can read."""

import os

import pytest

from podium.v1 import value_pb2
from service.domain.permissions import DEFAULT_POLICY
from service.engine.secrets import NoSecrets, SecretWithheld
from service.executors.secret_files import KEPT_US, SECRET_LIMIT_BYTES, SecretFiles
from tests.unit.admission.calls import an_authority

VALUE = "correct horse battery"


class Session:
    session_id = executor = "e"

    def __init__(self, *roles, scopes=None):
        self.authority = an_authority(*roles, scopes=scopes)


ADMIN = Session("admin")


class Clock:
    now = 0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "secrets" / "acme"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def source(folder, clock):
    return SecretFiles(folder.parent, lambda _tenant: DEFAULT_POLICY, clock)


def write(path, value=VALUE, mode=0o600):
    path.write_text(value)
    path.chmod(mode)


def reason_of(source, name="key", session=ADMIN, tenant="acme"):
    with pytest.raises(SecretWithheld) as withheld:
        source.give(tenant, [name], session)
    assert VALUE not in withheld.value.failure.message
    assert not withheld.value.failure.retryable
    return withheld.value.failure.reason


def test_a_secret_is_what_its_file_holds_without_the_last_line_break(source, folder):
    write(folder / "key", VALUE + "\n")
    write(folder / "other", VALUE + "\n\n")
    [key, other] = source.give("acme", ["key", "other"], ADMIN)
    assert (key.name, key.value, other.value) == ("key", VALUE.encode(), VALUE.encode() + b"\n")


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        (Session("executor"), "SECRET_DENIED"),
        (Session("admin", scopes=["secrets.use:other"]), "SECRET_DENIED"),
        (Session(), "SECRET_DENIED"),
    ],
)
def test_a_session_without_the_permission_is_given_nothing(source, folder, session, reason):
    write(folder / "key")
    assert reason_of(source, session=session) == reason
    [secret] = source.give("acme", ["key"], Session("admin", scopes=["secrets.use:k*"]))
    assert secret.value == VALUE.encode()


def spoil_mode(path):
    path.chmod(0o640)


def spoil_link(path):
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def spoil_folder_link(path):
    path.parent.rename(path.parent.with_name("real"))
    path.parent.symlink_to("real")


def spoil_kind(path):
    path.unlink()
    os.mkfifo(path, 0o600)


def spoil_folder(path):
    path.unlink()
    path.mkdir(0o700)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_mode,
        spoil_link,
        spoil_folder_link,
        spoil_kind,
        spoil_folder,
        lambda path: path.unlink(),
        lambda path: path.write_text("x" * (SECRET_LIMIT_BYTES + 1)),
        lambda path: path.write_text("\n"),
    ],
    ids=["mode", "link", "link above", "pipe", "folder", "missing", "large", "empty"],
)
def test_a_file_that_is_not_to_be_trusted_is_not_given_out(source, folder, caplog, spoil):
    write(folder / "key")
    spoil(folder / "key")
    assert reason_of(source) == "SECRET_MISSING"
    assert "the secret key of tenant acme cannot be given: " in caplog.text
    assert VALUE not in caplog.text


@pytest.mark.parametrize(("tenant", "name"), [("acme", "../acme/key"), ("..", "key"), ("acme", "."), ("acme/", "key")])
def test_no_name_leads_out_of_the_tenants_folder(source, folder, tenant, name):
    write(folder / "key")
    write(folder.parent / "key")
    assert reason_of(source, name, tenant=tenant) == "SECRET_MISSING"


def test_another_tenants_secret_is_missing(source, folder):
    write(folder / "key")
    assert reason_of(source, tenant="other") == "SECRET_MISSING"


def test_a_replaced_file_is_the_new_secret_within_seconds(source, folder, clock):
    write(folder / "key")
    source.give("acme", ["key"], ADMIN)
    write(folder / "key", "rotated")
    assert source.give("acme", ["key"], ADMIN)[0].value == VALUE.encode()
    clock.now = KEPT_US
    assert source.give("acme", ["key"], ADMIN)[0].value == b"rotated"
    (folder / "key").unlink()
    clock.now = 2 * KEPT_US
    assert reason_of(source) == "SECRET_MISSING"


def test_without_a_directory_there_are_no_secrets(clock):
    source = SecretFiles(None, lambda _tenant: DEFAULT_POLICY, clock)
    assert reason_of(source) == reason_of(NoSecrets()) == "SECRET_MISSING"


def test_the_failure_is_one_that_is_recorded_as_it_is(source):
    with pytest.raises(SecretWithheld) as withheld:
        source.give("acme", ["key"], ADMIN)
    assert isinstance(withheld.value.failure, value_pb2.Failure)
