"""The file by which a development server is found."""

import json
import stat

import pytest

from podium.discovery import find_server
from service.cli.failures import CommandFailed
from service.cli.operation.discovery_file import discovery_file


@pytest.fixture
def path(tmp_path, monkeypatch):
    file = tmp_path / "dev.json"
    monkeypatch.setenv("PODIUM_DEV_FILE", str(file))
    monkeypatch.delenv("PODIUM_ADDRESS", raising=False)
    monkeypatch.delenv("PODIUM_TOKEN", raising=False)
    return file


def test_the_sdk_finds_the_server_by_it(path):
    with discovery_file(path, address="127.0.0.1:7", token="secret"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found = find_server(None, None)
    assert (found.address, found.token) == ("127.0.0.1:7", "secret")
    assert list(path.parent.iterdir()) == []


def test_the_file_of_another_server_is_left_alone(path):
    with discovery_file(path, address="127.0.0.1:7", token="secret"):
        path.write_text(json.dumps({"address": "127.0.0.1:8", "token": "other"}))
    assert find_server(None, None).address == "127.0.0.1:8"


def test_a_link_is_replaced_and_not_followed(path, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path.symlink_to(victim)
    with discovery_file(path, address="127.0.0.1:7", token="secret"):
        assert not path.is_symlink()
    assert victim.read_text() == "mine"


def test_a_folder_that_is_not_there_is_told(path):
    there = discovery_file(path.parent / "nowhere" / "dev.json", address="a:1", token="t")
    with pytest.raises(CommandFailed, match="cannot be written"), there:
        pass
