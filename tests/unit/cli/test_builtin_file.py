"""The file of the built-in tools: a program is judged by what runs, whatever callers call it."""

import json

import pytest

from service.cli.failures import CommandFailed
from service.cli.tools.builtin_file import read_builtin


def read(path, folder):
    programs = {"tool": {"path": str(path), "arguments": ["x"]}}
    commands = {"directory": ".", "programs": programs}
    return read_builtin(json.dumps({"tools": ["command_run"], "commands": commands}), folder / "builtin.json", {})


def test_a_shell_is_refused_by_its_path_and_behind_a_link(tmp_path):
    link = tmp_path / "harmless"
    link.symlink_to("/bin/bash")
    for path in ("/bin/bash", "/usr/bin/env", link):
        with pytest.raises(CommandFailed) as refused:
            read(path, tmp_path)
        assert "a shell" in str(refused.value.__dict__) + str(refused.value)


def test_another_program_is_not(tmp_path):
    assert read("/usr/bin/wc", tmp_path).commands.programs["tool"].path == "/usr/bin/wc"


def test_health_is_asked_for_where_it_is_configured_and_nowhere_else(tmp_path):
    quiet = read_builtin('{"tools": ["http_request"], "http": {}}', tmp_path / "f", {})
    assert (quiet.http.health_url, quiet.process.probe_interval_s) == ("", 30)
    content = {
        "tools": ["http_request", "sql_query"],
        "http": {"hosts": ["api.example.org"], "health_url": "https://api.example.org/health"},
        "databases": {"shop": {"path": "shop.db", "health": True}, "other": {"path": "other.db"}},
        "process": {"probe_interval": "5s"},
    }
    asked = read_builtin(json.dumps(content), tmp_path / "f", {})
    assert asked.http.health_url == "https://api.example.org/health"
    assert {each.name: each.health for each in asked.databases} == {"shop": True, "other": False}
    assert asked.process.probe_interval_s == 5


def test_a_health_address_that_may_not_be_reached_is_refused(tmp_path):
    content = {"tools": ["http_request"], "http": {"hosts": ["api.example.org"], "health_url": "https://example.com/"}}
    with pytest.raises(CommandFailed) as refused:
        read_builtin(json.dumps(content), tmp_path / "f", {})
    assert refused.value.violations == [("http.health_url", "has a host that is not allowed")]
