"""A forked program is a process like any other: its own words, folder, environment, memory and end."""

import json
import os
import signal
import subprocess

import pytest

from tests.integration.rig.forked_process import ForkedProcess, environment

PROMPT = "code"
"""A module of Python's own that does what its standard input says."""
TELL = """\
import json, os, sys, service.main
told = {"pid": os.getpid(), "folder": os.getcwd(), "environment": dict(os.environ), "words": sys.argv[1:]}
told["marked"] = hasattr(service.main, "marked")
service.main.marked = True
_ = open("told", "w").write(json.dumps(told))
raise SystemExit(3)
"""


@pytest.fixture
def tell(tmp_path):
    """Runs a fork to its end: what it tells of itself, its process id and its exit code."""

    def run(*words, **variables):
        (tmp_path / "given").write_text(TELL)
        with (tmp_path / "given").open("rb") as given, (tmp_path / "out").open("wb") as out:
            where = {"env": environment(**variables), "cwd": tmp_path}
            process = ForkedProcess(PROMPT, *words, stdin=given, stdout=out, stderr=out, **where)
            code = process.wait(30)
        return json.loads((tmp_path / "told").read_text()), process.pid, code

    return run


@pytest.fixture
def waiting():
    """A fork that waits for what it is given."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = ForkedProcess(PROMPT, env=environment(), **streams)
    yield process
    process.kill()
    process.wait(30)
    process.stdin.close()
    process.stdout.close()


def test_it_has_its_own_words_folder_environment_and_exit_code(tell, tmp_path):
    told, pid, code = tell("-q", SHOP="open")
    assert (told["pid"], told["folder"], told["words"], code) == (pid, str(tmp_path), ["-q"], 3)
    assert told["environment"] == environment(SHOP="open")
    assert pid != os.getpid()


def test_what_one_changes_in_memory_no_later_one_sees(tell):
    first, _, _ = tell()
    second, _, _ = tell()
    assert (first["marked"], second["marked"]) == (False, False)
    assert first["pid"] != second["pid"]


def test_one_that_runs_has_no_exit_code_and_one_that_is_killed_has_the_signals(waiting):
    assert waiting.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.01)
    waiting.kill()
    assert waiting.wait(30) == -signal.SIGKILL
    assert waiting.poll() == -signal.SIGKILL


def test_one_ends_when_nobody_can_give_it_anything_more_though_another_runs(waiting):
    other = ForkedProcess(PROMPT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert other.wait(30) == 0
    waiting.stdin.close()
    assert waiting.wait(30) == 0
