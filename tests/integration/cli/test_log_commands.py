"""`podium log` on what the service leaves behind, and while it runs."""

import json
import shlex
import signal
import subprocess
import sys

import pytest

WARNING = "checkpoints are kept in the database alone"
KEEP = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"


@pytest.fixture
def serve(program, tmp_path):
    """Starts `podium serve` in a folder of the test's own, and waits until it serves."""

    def start(**variables):
        words = ("serve", "--json", "--listen", "127.0.0.1:0", "--database", tmp_path / "podium.db")
        served = program(*words, "--state-dir", tmp_path, errors=subprocess.PIPE, **variables)
        assert json.loads(served.says())["ready"]
        return served

    return start


@pytest.fixture
def log(podium_command, tmp_path):
    """Runs `podium log` on the files of that service."""

    def run(name, *words):
        where = ("--state-dir", tmp_path) if name != "checkpoint" else ()
        where += ("--database", tmp_path / "podium.db") if name != "key" else ()
        return podium_command("log", name, *where, *words)

    return run


def test_without_a_copy_outside_the_service_warns_once(serve, log):
    served = serve()
    assert log("verify").code == 0, "beside a server that runs"
    assert served.end(signal.SIGTERM) == 0
    said = served.process.stderr.read()
    assert said.count(WARNING) == 1
    assert "PODIUM_CHECKPOINT_FILE" in said


def test_with_a_copy_outside_the_service_does_not_warn(serve, log, tmp_path):
    served = serve(PODIUM_CHECKPOINT_FILE=str(tmp_path / "outside.txt"))
    assert log("checkpoint").code == 4, "nothing is recorded, so nothing is signed"
    assert served.end(signal.SIGTERM) == 0
    assert WARNING not in served.process.stderr.read()
    assert log("key").out.startswith("podium+")


def test_a_demonstration_is_signed_for_and_does_not_warn(podium_command, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "one.md").write_text("# One\n\nRetries wait longer each time.\n")
    state, kept = tmp_path / "state", tmp_path / "kept by a command.txt"
    where = ("--source", tmp_path / "source", "--state-dir", state)
    command = shlex.join([sys.executable, "-c", KEEP, str(kept)])
    ended = podium_command(
        "demo", "research", "--query", "retries", *where, "--json", PODIUM_CHECKPOINT_COMMAND=command
    )
    assert ended.code == 0, ended.err
    assert WARNING not in (state / "service.log").read_text()
    database = ("--database", state / "podium.db")
    checkpoints = ("--checkpoints", state / "checkpoints.txt")
    verified = podium_command("log", "verify", *database, "--state-dir", state, *checkpoints, "--json")
    assert verified.code == 0, verified.out
    assert verified.json["clean"]
    assert verified.json["checkpoints"] == verified.json["outside_checkpoints"] > 0
    assert kept.read_text() == (state / "checkpoints.txt").read_text()
    newest = podium_command("log", "checkpoint", *database)
    assert newest.out.strip() in (state / "checkpoints.txt").read_text()
    assert newest.out.splitlines()[1] == str(verified.json["head"]), "the last event is signed for when it ends"


def test_a_development_server_does_not_warn(program, tmp_path):
    served = program("dev", "--json", "--port", "0", "--dev-file", tmp_path / "dev.json", errors=subprocess.PIPE)
    assert json.loads(served.says())["ready"]
    assert served.end(signal.SIGTERM) == 0
    assert WARNING not in served.process.stderr.read()
