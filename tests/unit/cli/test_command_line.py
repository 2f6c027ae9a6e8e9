"""The command line as a whole: its help, its exit codes, what it loads."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import podium
from service.cli import main
from service.cli.examples import this_command
from service.cli.failures import CommandFailed, ExitCode, exit_code_of, failure_of

HEAVY = {"grpc", "google.protobuf", "sqlalchemy", "rich", "yaml", "service.main", "service.config"}


def commands(command=None, path=("podium",)):
    command = command or get_command(main.app)
    for name, each in getattr(command, "commands", {}).items():
        if getattr(each, "commands", None):
            yield from commands(each, (*path, name))
        else:
            yield " ".join((*path, name)), each


COMMANDS = dict(commands())


def run(capsys, *words):
    with pytest.raises(SystemExit) as exited:
        main.run(words)
    said = capsys.readouterr()
    return exited.value.code, said.out, said.err


@pytest.fixture
def failing(monkeypatch):
    """Lets `podium tools list` fail with an error of the test's choice."""

    def fail_with(error):
        def fail(*_args, **_keywords):
            raise error

        monkeypatch.setattr("service.cli.connecting.with_service", fail)

    return fail_with


def test_the_commands_are_those_of_the_issue():
    assert COMMANDS.keys() == {
        f"podium {name}"
        for name in (
            "serve",
            "config check",
            "status",
            "config show",
            "config init",
            "dev",
            "run",
            "call",
            "events",
            "replay",
            "top",
            "stats",
            "executor",
            "bench",
            "builtin serve",
            "builtin check",
            "policy test",
            "policy show",
            "policy history",
            "policy diff",
            "policy apply",
            "policy rollback",
            "policy proposals",
            "policy approve",
            "policy reject",
            "addresses block",
            "addresses unblock",
            "addresses list",
            "tenants create",
            "tenants configure",
            "tenants list",
            "tenants show",
            "breakers list",
            "breakers show",
            "breakers open",
            "breakers close",
            "breakers reset",
            "keys list",
            "keys rotate",
            "keys destroy",
            "breakers list",
            "breakers show",
            "breakers open",
            "breakers close",
            "breakers reset",
            "demo breakers",
            "cache invalidate",
            "cache list",
            "cache stats",
            "executors list",
            "quarantine list",
            "quarantine release",
            "workflows list",
            "workflows show",
            "workflows watch",
            "workflows cancel",
            "tools list",
            "tools show",
            "tools docs",
            "audit query",
            "projections list",
            "projections rebuild",
            "database migrate",
            "database check",
            "database info",
            "database grants",
            "addresses block",
            "addresses list",
            "addresses unblock",
            "tenants configure",
            "tenants create",
            "tenants list",
            "tenants show",
            "audit export",
            "audit security",
            "check",
            "log verify",
            "log checkpoint",
            "log key",
            "token mint",
            "token inspect",
            "token revoke",
            "demo research",
            "demo breakers",
        )
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_of_the_command(name, capsys):
    code, out, _ = run(capsys, *name.split()[1:], "--help")
    assert code == 0
    examples = out.partition("Example:\n")[2]
    assert any(line.strip().startswith((name, f"export PODIUM_TOKEN=$({name}")) for line in examples.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself_and_its_options(name):
    command = COMMANDS[name]
    assert command.help
    assert all(
        getattr(parameter, "help", "") for parameter in command.params if not getattr(parameter, "hidden", False)
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_output_for_programs(name):
    assert any("--json" in parameter.opts for parameter in COMMANDS[name].params)


def test_help_loads_nothing_that_takes_its_time():
    program = "import sys; from service.cli import main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY.intersection(loaded) == set()


def test_without_a_command_the_help_is_shown(capsys):
    assert "Exit codes:" in run(capsys)[1] + run(capsys)[2]


def test_an_unknown_option_is_bad_input(capsys):
    code, _, err = run(capsys, "tools", "list", "--colour")
    assert code == 2
    assert "--colour" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["top", "--sort", "colour"], "there are tool, calls"),
        (["top", "--window", "soon"], "--window: 'soon' is no duration"),
        (["stats", "--from", "yesterday"], "--from 'yesterday' is no time"),
        (["stats", "--every", "often"], "--every: 'often' is no duration"),
    ],
)
def test_a_wrong_option_of_the_statistics_is_bad_input(capsys, words, told):
    code, _, err = run(capsys, *words)
    assert code == 2
    assert told in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (podium.InvalidInput("x"), 2),
        (podium.Unauthenticated("x"), 3),
        (podium.PermissionDenied("x"), 3),
        (podium.NotFound("x"), 4),
        (podium.Unavailable("x"), 5),
        (podium.ToolFailed("x"), 1),
        (podium.TimedOut("x"), 1),
        (podium.Conflict("x"), 1),
        (podium.PodiumError("x"), 1),
    ],
)
def test_each_refusal_has_its_exit_code(failing, capsys, error, code):
    failing(error)
    assert run(capsys, "tools", "list")[0] == code == exit_code_of(error)


def test_a_refusal_is_told_on_a_line_with_its_reason(failing, capsys):
    failing(podium.PermissionDenied("audit needs audit.read (rule default-deny)", reason="DENIED", event="0:7"))
    _, out, err = run(capsys, "tools", "list")
    assert (out, err) == ("", "error: audit needs audit.read (rule default-deny) (DENIED, event 0:7)\n")


def test_every_field_at_fault_is_told():
    error = podium.InvalidInput("a is bad (and 1 more)", violations=[("a", "is bad"), ("b", "is worse")])
    assert failure_of(error).text().splitlines() == ["a is bad (and 1 more) (INVALID_ARGUMENT)", "  b is worse"]


def test_whoever_has_no_token_is_told_how_to_get_one(failing, capsys):
    failing(podium.Unauthenticated("there is no token"))
    assert "podium token mint" in run(capsys, "tools", "list")[2]


def test_a_refusal_is_json_for_a_program(failing, capsys):
    failing(podium.RateLimited("too many", retry_after="2s", violations=[("steps", "are too many")]))
    _, out, err = run(capsys, "tools", "list", "--json")
    told = json.loads(err)["error"]
    assert out == ""
    assert (told["reason"], told["retry_after_s"], told["exit_code"]) == ("RATE_LIMITED", 2.0, 1)
    assert told["violations"] == [{"field": "steps", "description": "are too many"}]


def test_a_fault_of_the_program_is_told_without_a_traceback(failing, capsys):
    failing(ZeroDivisionError("division by zero"))
    code, _, err = run(capsys, "tools", "list")
    assert code == 1
    assert err.startswith("error: ZeroDivisionError: division by zero")
    assert "Traceback" not in err


def test_debug_shows_where_an_error_came_from(failing):
    failing(podium.NotFound("nowhere"))
    with pytest.raises(podium.NotFound):
        main.run(["--debug", "tools", "list"])


def test_what_a_stranger_wrote_does_not_steer_the_terminal():
    failure = CommandFailed("it said \x1b[2J\x07hello\nagain", ExitCode.FAILED)
    assert failure.text() == "it said [2Jhello again"


class Terminal(io.StringIO):
    """Somebody who sits at a terminal, and what they answer."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("answer", "told"),
    [("y\n", "the service was asked"), ("n\n", "nothing was destroyed"), ("\n", "nothing was destroyed")],
)
def test_a_data_key_is_destroyed_when_whoever_is_at_the_terminal_says_yes(capsys, monkeypatch, answer, told):
    def asked(*_words):
        raise CommandFailed("the service was asked")

    monkeypatch.setattr("service.cli.connecting.with_service", asked)
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    code, out, error = run(capsys, "keys", "destroy", "the-key")
    assert (code, out) == (1, "")
    assert "the-key sealed will be erased for good" in error
    assert error.splitlines()[-1].startswith(f"error: {told}")


@pytest.mark.parametrize(("path", "typed"), [("{folder}", "podium"), ("/nowhere", "{folder}/podium")])
def test_a_command_is_named_so_that_it_can_be_typed(monkeypatch, tmp_path, path, typed):
    program = tmp_path / "podium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", path.format(folder=tmp_path))
    assert this_command() == typed.format(folder=tmp_path)


SAYING = """
from service.cli import main
from service.cli.output import say
main.app = lambda *_, **__: say("the result")
main.run([])
"""
FAILING = "from service.cli import main\nmain.run(['workflows', 'show'])"


@pytest.mark.parametrize(
    ("program", "full", "told"),
    [
        (SAYING, "stdout", "error: standard output cannot be written: No space left on device"),
        (FAILING, "stderr", "error: "),
    ],
)
def test_what_cannot_be_said_on_one_stream_is_said_on_the_other(program, full, told):
    with Path("/dev/full").open("wb") as nowhere:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, full: nowhere}
        ended = subprocess.run([sys.executable, "-c", program], **streams, text=True, check=False)
    assert ended.returncode != 0
    assert (ended.stdout or ended.stderr).startswith(told)
