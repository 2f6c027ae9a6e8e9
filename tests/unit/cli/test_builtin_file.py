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
